"""Which layers' pooled states make the vector of a text: the option, and what it means for a model."""

from collections.abc import Sequence
from typing import Any

from layersel.errors import UserError

LAST, ALL = "last", "all"
MEAN, CONCAT = "mean", "concat"
COMBINATIONS = (MEAN, CONCAT)
"""The names of the ways to make one vector of several layers' vectors."""


def layers_problems(layers: Any) -> list[str]:
    """Returns the line that refuses a value of `model.layers` which is wrong for every model; nothing if it is not."""
    if layers in (LAST, ALL) or (isinstance(layers, list) and _different_integers(layers)):
        return []
    return [f"model.layers: expected last, all, or a list of different layers such as [3,-1], but got {layers!r}"]


def counted_from_first(layers: str | Sequence[int]) -> bool:
    """Returns whether layers are named by numbers that shift when layers are dropped."""
    return not isinstance(layers, str) and any(layer >= 0 for layer in layers)


def layers_named(layers: str | Sequence[int], depth: int) -> list[int]:
    """Returns the layers (from 0, ascending) that a value of `model.layers` names in a model of `depth` layers.

    Raises:
        UserError: The model has no such layer, or one is named twice.

    Example:
        >>> layers_named([-1, 2], depth=6)
        [2, 5]
    """
    if isinstance(layers, str):
        return list(range(depth)) if layers == ALL else [depth - 1]
    beyond = [layer for layer in layers if not -depth <= layer < depth]
    if beyond:
        raise UserError(
            f"model.layers: expected layers from 0 to {depth - 1}, or from -{depth} to -1 counted from the last one, "
            f"but got {', '.join(map(str, beyond))}"
        )
    found = sorted(layer % depth for layer in layers)
    if len(set(found)) < len(found):
        raise UserError(f"model.layers: expected different layers, but got {list(layers)}, and the model has {depth}")
    return found


def _different_integers(layers: list[Any]) -> bool:
    integers = all(isinstance(layer, int) and not isinstance(layer, bool) for layer in layers)
    return integers and 0 < len(set(layers)) == len(layers)
