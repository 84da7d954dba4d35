"""Checks that the modules of a model can take an adapter."""

from collections.abc import Sequence

from transformers.pytorch_utils import Conv1D

from layersel.backbone.backbone import Backbone
from layersel.backbone.layers import widths
from layersel.errors import UserError


def check_linear(backbone: Backbone, names: Sequence[str], kind: str) -> None:
    """Raises a `UserError` if one of the modules is a `Conv1D`."""
    for name in names:
        if isinstance(backbone.model.get_submodule(name), Conv1D):
            raise UserError(
                f"adapter: expected linear layers for {kind}, but {name} of {type(backbone.model).__name__} is a "
                "Conv1D; use adapter=lora, or a model without Conv1D"
            )


def check_same_shapes(backbone: Backbone, names_by_layer: Sequence[Sequence[str]]) -> None:
    """Raises a `UserError` if modules that are to share factors have other shapes in some layers than in the first."""
    for names in names_by_layer:
        for name, first in zip(names, names_by_layer[0], strict=True):
            shape, expected = (widths(backbone.model.get_submodule(module)) for module in (name, first))
            if shape != expected:
                raise UserError(
                    f"adapter.projections: expected the same shape in all layers that share factors, but {first} has "
                    f"{expected} and {name} {shape}; use adapter=lora"
                )


def check_rank(backbone: Backbone, names: Sequence[str], rank: int) -> None:
    """Raises a `UserError` if a rank is above that of one of the weight matrices."""
    least, name = min((min(widths(backbone.model.get_submodule(name))), name) for name in names)
    if rank > least:
        raise UserError(f"adapter.rank: expected at most {least}, the smaller width of {name}, but got {rank}")
