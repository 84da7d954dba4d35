"""Shows what enters the linear modules of all layers while the texts of a probe pass through the model once."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from layersel.backbone.backbone import Backbone, Batch
from layersel.backbone.inputs import seeing_inputs
from layersel.backbone.modes import evaluating
from layersel.errors import UserError
from layersel.terminal.progress import progress


def see_probe(
    backbone: Backbone,
    batches: Iterable[Batch],
    linears: Mapping[str, nn.Module],
    see: Callable[[str, Tensor, list[int]], None],
    score: str,
) -> None:
    """Gives `see` what enters each linear module with each batch: its name, and real tokens × inputs, text by text.

    Args:
        backbone: The model.
        batches: The texts.
        linears: Linear modules by their names.
        see: Is given the inputs, and how many of the tokens are those of each text.
        score: The score that asks, for messages.

    Raises:
        UserError: No token enters a module, or something else does.
    """
    unseen = set(linears)
    lengths: list[int] = []

    def enter(name: str, inputs_NI: Tensor) -> None:
        unseen.discard(name)
        see(name, inputs_NI, lengths)

    user = f"selection={score}"
    with evaluating(backbone), seeing_inputs(backbone, linears, enter, user, "a score of states, such as cka"):
        for batch in progress(batches, "probing the modules"):
            lengths[:] = batch["attention_mask"].sum(dim=1).tolist()
            backbone.last_states(batch)
    if unseen:
        raise UserError(f"{user}: no text passes through {min(unseen)}; use a score of states, such as cka")


def sums_by_text(values: Tensor, lengths: list[int]) -> Tensor:
    """Sums what there is of each token over the tokens of each text.

    Example:
        >>> sums_by_text(torch.tensor([1.0, 2.0, 3.0, 4.0]), [3, 1])
        tensor([6., 4.])
    """
    return torch.stack([own.sum(dim=0) for own in torch.split(values, lengths)])
