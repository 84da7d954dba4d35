"""Compares a figure of linear modules among those of one type, such as all query projections."""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import median

import torch
from torch import Tensor, nn

from layersel.backbone.backbone import Backbone
from layersel.backbone.layers import find_layers, find_linear, weight_OI
from layersel.errors import UserError
from layersel.selection.score import LayerScores
from layersel.terminal.progress import progress


def linear_layers(backbone: Backbone, score: str) -> list[dict[str, nn.Module]]:
    """Finds, for each layer, its linear modules by their full names.

    Raises:
        UserError: A layer has none, or its weights are packed, so that `score` cannot be made of them.
    """
    layers = find_linear(backbone.model)
    check_unpacked({name: weight_OI(module) for own in layers for name, module in own.items()}, f"selection={score}")
    bare = [layer for layer, linears in enumerate(layers) if not linears]
    if bare:
        raise UserError(
            f"selection={score}: expected linear modules in every layer, but layers {bare} have none that are known; "
            "use a score of states, such as cka"
        )
    return layers


def check_unpacked(weights: Mapping[str, Tensor], argument: str) -> None:
    """Refuses weights that are no floating-point numbers; `argument` begins the line.

    Raises:
        UserError: The weight of a module is packed.
    """
    packed = [name for name, weight in weights.items() if not weight.is_floating_point()]
    if packed:
        raise UserError(
            f"{argument}: expected floating-point weights, but those of {packed[0]} are packed; score the model before "
            "it is quantised"
        )


def mean_of_modules(layers: Sequence[Mapping[str, float]], resampled_SL: Tensor | None = None) -> LayerScores:
    """Returns each layer's mean over its modules, with the modules' own scores."""
    means = [sum(own.values()) / len(own) for own in layers]
    modules = {name: value for own in layers for name, value in own.items()}
    return LayerScores(torch.tensor(means, dtype=torch.float64), resampled_SL=resampled_SL, modules=modules)


def scores_within_types(backbone: Backbone, score: str, figure: Callable[[nn.Module], float]) -> LayerScores:
    """Scores each linear module by its figure relative to those of its type, and each layer by the mean over its own.

    A figure v becomes v/(v + the median of its type over the layers): .5 is the median, 2/3 is twice as much. Types of
    other shapes have figures of another scale, and a single one may be infinite or far out, which would decide alone
    in a mean of v, even relative to the type's mean; places in an order would leave few layers with many ties.

    Args:
        backbone: The model.
        score: The score's name, for messages.
        figure: Gives a module's figure, 0 or more, which may be infinite.

    Raises:
        UserError: A layer has no linear modules, or a figure is not a number.
    """
    layers = linear_layers(backbone, score)
    stack = find_layers(backbone.model)[0]
    types: dict[str, dict[str, float]] = {}
    for layer, linears in enumerate(progress(layers, "looking at the weights")):
        for name, module in linears.items():
            value = figure(module)
            if math.isnan(value):
                raise UserError(f"selection={score}: the weight of {name} gives no number; use a score such as cka")
            types.setdefault(name.removeprefix(f"{stack}.{layer}."), {})[name] = value
    modules: dict[str, float] = {}
    for of_type in types.values():
        middle = median(of_type.values())
        modules |= {name: _relative(value, middle) for name, value in of_type.items()}
    return mean_of_modules([{name: modules[name] for name in linears} for linears in layers])


def _relative(value: float, middle: float) -> float:
    if value == middle:
        return 0.5
    return 1.0 if math.isinf(value) else value / (value + middle)
