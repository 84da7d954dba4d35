"""Compares a figure of linear modules among those of one type, such as all query projections."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from scipy.stats import rankdata
from torch import nn

from layersel.backbone.backbone import Backbone
from layersel.backbone.layers import find_layers, find_linear
from layersel.errors import UserError
from layersel.selection.score import LayerScores
from layersel.terminal.progress import progress

# Shapes: L layers, M modules of one type.


def linear_layers(backbone: Backbone, score: str) -> list[dict[str, nn.Module]]:
    """Finds, for each layer, its linear modules by their full names.

    Raises:
        UserError: A layer has none, so that `score` cannot be made of them.
    """
    layers = find_linear(backbone.model)
    bare = [layer for layer, linears in enumerate(layers) if not linears]
    if bare:
        raise UserError(
            f"selection={score}: expected linear modules in every layer, but layers {bare} have none that are known; "
            "use a score of states, such as cka"
        )
    return layers


def mean_of_modules(layers: Sequence[Mapping[str, float]]) -> LayerScores:
    """Returns each layer's mean over its modules, with the modules' own scores."""
    means = [sum(own.values()) / len(own) for own in layers]
    modules = {name: value for own in layers for name, value in own.items()}
    return LayerScores(torch.tensor(means, dtype=torch.float64), modules=modules)


def scores_within_types(backbone: Backbone, score: str, figure: Callable[[nn.Module], float]) -> LayerScores:
    """Scores each linear module by the place of its figure among those of its type, and each layer by their mean.

    The place is the share of the type's modules whose figure is lower, ties by halves, so between 0 and 1. Figures of
    different types differ in scale, and some are infinite or far out: a mean of them, even relative to their types,
    would be the outliers' alone.

    Args:
        backbone: The model.
        score: The score's name, for messages.
        figure: Gives a module's figure, which may be infinite.

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
    places = {name: place for of_type in types.values() for name, place in _places(of_type).items()}
    return mean_of_modules([{name: places[name] for name in linears} for linears in layers])


def _places(of_type: Mapping[str, float]) -> dict[str, float]:
    ranks_M = rankdata(list(of_type.values()))
    return {name: float((rank - 0.5) / len(of_type)) for name, rank in zip(of_type, ranks_M, strict=True)}
