"""The norms of what enters linear modules, and Wanda's scores by them (Sun et al. 2023)."""

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from layersel.backbone.backbone import Backbone, Batch
from layersel.backbone.inputs import add_squares, seeing_inputs
from layersel.compression.pruning.weight_pruning import Linears
from layersel.errors import UserError

# Shapes: B texts, T tokens, D hidden size, N real tokens; O outputs, I inputs of a linear layer.


def wanda_scores(weight_OI: Tensor, norms_I: Tensor) -> Tensor:
    """Computes S_ij = |W_ij|·‖X_j‖₂ (eq. 1), O×I.

    Example:
        >>> import torch
        >>> wanda_scores(torch.tensor([[1.0, -2.0]]), torch.tensor([8.0, 3.0]))
        tensor([[8., 6.]])
    """
    return weight_OI.abs() * norms_I


def input_norms(
    backbone: Backbone, layer: int, linears: Linears, batches: Sequence[Batch], states: Sequence[Tensor]
) -> dict[str, Tensor]:
    """Computes ‖X_j‖₂ over all real tokens for each input j of a block's linear modules, given what enters it."""
    squares: dict[str, Tensor] = {}
    see = partial(add_squares, squares)
    with seeing_inputs(backbone, linears, see, user="pruning=wanda", instead="pruning=magnitude"):
        for batch, states_BTD in zip(batches, states, strict=True):
            backbone.advance(batch, layer, states_BTD)
    for name in set(linears) - set(squares):
        raise UserError(
            f"pruning=wanda: no text passes through {name}, whose adapter goes around it; merge the adapter first"
        )
    return {name: squares_I.sqrt() for name, squares_I in squares.items()}
