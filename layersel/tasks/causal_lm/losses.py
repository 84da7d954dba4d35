"""The loss of the tokens that are to be predicted: −log of the probability that the model gives each of them."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from layersel.backbone.backbone import Backbone
from layersel.backbone.modes import evaluating
from layersel.backbone.prefix import PrefixCache
from layersel.terminal.progress import progress

# Shapes: B texts, T tokens, D hidden size, M tokens to be predicted.

AT_ONCE = 1024
"""Tokens that pass the model's head at once: its output has a number for each word of the vocabulary."""


def token_losses(cache: PrefixCache, batch: Sequence[int], answers: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Returns the loss (M, float32) of each token that is to be predicted, and the row (M) of its text in the batch.

    Args:
        cache: The texts; runs the model.
        batch: Indices of texts that make one batch.
        answers: For each of them, 1 where a token is to be predicted.
    """
    wanted = [(row, place) for row, marks in enumerate(answers) for place in range(1, len(marks)) if marks[place]]
    states_BTD = cache.batch_last_states(batch)
    rows_M, places_M = torch.tensor(wanted, device=states_BTD.device).unbind(1)
    tokens = [cache.tokens[batch[row]][place] for row, place in wanted]
    before_MD = states_BTD[rows_M, places_M - 1]
    targets_M = torch.tensor(tokens, device=states_BTD.device)
    return _losses(cache.backbone, before_MD, targets_M), rows_M


def text_losses(cache: PrefixCache, texts: Sequence[int], answers: Sequence[Sequence[int]], what: str) -> Tensor:
    """Returns the sum of the losses and the number of tokens to be predicted of each text (N×2, float64, CPU).

    Args:
        cache: The texts; runs the model, in evaluation mode.
        texts: Indices of the N texts.
        answers: For all texts of the cache, 1 where a token is to be predicted.
        what: The name of the progress bar.
    """
    place = {text: row for row, text in enumerate(texts)}
    found_N2 = torch.zeros(len(texts), 2, dtype=torch.float64)
    with evaluating(cache.backbone), progress((), what, total=len(texts), unit=" texts") as bar:
        for batch in cache.batches(texts):
            losses_M, rows_M = token_losses(cache, batch, [answers[text] for text in batch])
            own_B = torch.tensor([place[text] for text in batch])[rows_M.cpu()]
            found_N2[:, 0].index_add_(0, own_B, losses_M.double().cpu())
            found_N2[:, 1].index_add_(0, own_B, torch.ones(len(own_B), dtype=torch.float64))
            bar.update(len(batch))
    return found_N2


def _losses(backbone: Backbone, states_MD: Tensor, targets_M: Tensor) -> Tensor:
    """Computes the losses part by part; in training the logits of a part are computed again when they are needed."""

    def part(states: Tensor, targets: Tensor) -> Tensor:
        return cross_entropy(backbone.logits(states).float(), targets, reduction="none")

    parts = list(zip(torch.split(states_MD, AT_ONCE), torch.split(targets_M, AT_ONCE), strict=True))
    if len(parts) == 1 or not torch.is_grad_enabled():
        return torch.cat([part(states, targets) for states, targets in parts])
    return torch.cat([checkpoint(part, states, targets, use_reentrant=False) for states, targets in parts])
