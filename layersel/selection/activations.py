"""Shows what enters the linear modules of all layers while the texts of a probe pass through the model once."""

from collections.abc import Callable, Iterable, Mapping

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
    see: Callable[[str, Tensor], None],
    score: str,
) -> None:
    """Gives `see` what enters each linear module with each batch: its name, and real tokens × inputs.

    Args:
        backbone: The model.
        batches: The texts.
        linears: Linear modules by their names.
        see: Is given the inputs.
        score: The score that asks, for messages.

    Raises:
        UserError: No token enters a module, or something else does.
    """
    unseen = set(linears)

    def enter(name: str, inputs_NI: Tensor) -> None:
        unseen.discard(name)
        see(name, inputs_NI)

    user = f"selection={score}"
    with evaluating(backbone), seeing_inputs(backbone, linears, enter, user, "a score of states, such as cka"):
        for batch in progress(batches, "probing the modules"):
            backbone.last_states(batch)
    if unseen:
        raise UserError(f"{user}: no text passes through {min(unseen)}; use a score of states, such as cka")
