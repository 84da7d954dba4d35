"""Encodes whole collections of texts by a backbone, in batches of like length sized in tokens."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from layersel.backbone.backbone import Backbone, Batch
from layersel.backbone.modes import evaluating
from layersel.backbone.prefix import PrefixCache
from layersel.data.tokens import TokenIds
from layersel.errors import UserError
from layersel.terminal.progress import progress


def encode(cache: PrefixCache, what: str) -> Tensor:
    """Computes the vectors (n×V, float32, CPU) of all texts of `cache` in their order, in evaluation mode.

    Args:
        cache: The texts and their backbone; states that it keeps on the way serve the next pass.
        what: The name of the progress bar.

    Raises:
        UserError: Some vectors are not finite.
    """
    vectors: dict[int, Tensor] = {}
    with evaluating(cache.backbone), progress((), what, total=len(cache.tokens), unit=" texts") as bar:
        for texts in cache.batches(range(len(cache.tokens))):
            vectors |= zip(texts, cache.batch_vectors(texts).float().cpu(), strict=True)
            bar.update(len(texts))
    encoded = torch.stack([vectors[text] for text in range(len(cache.tokens))])
    broken = int((~encoded.isfinite().all(dim=1)).sum())
    if broken:
        raise UserError(
            f"{what}: {broken} of {len(encoded)} vectors are not finite; lower task.learning_rate or use precision=fp32"
        )
    return encoded


def layer_representations(backbone: Backbone, batches: Iterable[Batch], what: str, final_norm: bool = False) -> Tensor:
    """Computes pooled states ((L+1)×n×D, float32, CPU) of all texts: the first layer's input, then each layer's output.

    This takes one pass, which keeps only the pooled vectors of a batch.

    Args:
        backbone: The model.
        batches: The texts.
        what: The name of the progress bar.
        final_norm: Whether the last output is taken behind the model's final norm.
    """
    with evaluating(backbone):
        pooled = [backbone.pooled_states(batch, final_norm).float().cpu() for batch in progress(batches, what)]
    return torch.cat(pooled, dim=1)


def token_batches(backbone: Backbone, tokens: Sequence[TokenIds]) -> list[Batch]:
    """Makes padded batches of like length, on the backbone's device, of texts given as token ids."""
    return [backbone.batch([tokens[text] for text in texts]) for texts in backbone.batches(tokens)]
