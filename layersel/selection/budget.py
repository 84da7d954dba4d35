"""The choice of layers by their scores, within a budget."""

import math
from collections.abc import Callable, Container, Sequence

from torch import Tensor

from layersel.backbone.backbone import Backbone
from layersel.errors import UserError
from layersel.selection.cost import relative_costs
from layersel.selection.score import Measure, Score, uncounted

# Shapes: L layers.

ROUNDING = 1e-9
"""What a sum of shares may lack of what is asked for."""
ParameterCount = Callable[[Backbone], list[int] | None]
"""Counts what an adapter would train in each layer of a model; None if it does not know."""


def layers_within(
    score: Score,
    values_L: Tensor,
    affordable: Container[int],
    excluded: set[int],
    parameters: Sequence[int] | None = None,
) -> list[int]:
    """Returns the layers with the highest scores that the budget of `score` allows, sorted.

    Under a budget of parameters they are taken in the order of their scores; one whose adapter would exceed what is
    left is passed over. Where all layers have as many, no other layers within the budget have higher scores.

    Args:
        score: The score with its budget.
        values_L: The layers' scores; NaN where a layer has none.
        affordable: The layers whose training is not too dear.
        excluded: Layers without a meaningful score, which are chosen last of all.
        parameters: What the adapter trains in each layer, for a score with `max_parameters`.

    Raises:
        UserError: More layers are asked for than there are, or no score is above 0 where shares of these are asked for.
    """
    order = [layer for layer in best_first(values_L, excluded) if layer in affordable]
    if isinstance(score, Measure) and score.max_parameters is not None and parameters is not None:
        order = _fitting(order, parameters, score.max_parameters)
    if isinstance(score, Measure) and score.cumulative is not None:
        return sorted(order[: _fewest(score.cumulative, values_L, order, excluded)])
    return sorted(order[: score.budget(len(values_L))])


def affordable_layers(score: Score, weights: Sequence[int], head: int) -> range:
    """Returns the layers with which a training step costs no more than the score's `max_cost`, if it has one.

    The cost depends on the lowest adapted layer alone, so that these are all layers from some one on, and the best
    layers within the limit are the best of these.

    Args:
        score: The score with its budget.
        weights: The number of weights of each layer.
        head: The number of weights of the head above them.

    Raises:
        UserError: A step with the last layer alone costs more.
    """
    highest = score.max_cost if isinstance(score, Measure) else None
    if highest is None:
        return range(len(weights))
    if not sum(weights):
        raise UserError("selection.max_cost: expected a model with linear modules in its layers, by which a step costs")
    costs = relative_costs(weights, head)
    lowest = next((layer for layer, cost in enumerate(costs) if cost <= highest), None)
    if lowest is None:
        least = math.ceil(100 * costs[-1]) / 100
        raise UserError(
            f"selection.max_cost: expected at least {least:.2f}, what a step costs with the last layer alone, but got "
            f"{highest:g}"
        )
    return range(lowest, len(weights))


def trained_parameters(
    score: Score, backbone: Backbone, count: ParameterCount | None, affordable: Sequence[int]
) -> list[int] | None:
    """Returns what the adapter trains in each layer; None where the score's budget does not ask for it.

    Args:
        score: The score with its budget.
        backbone: The model.
        count: Counts them.
        affordable: The layers whose training is not too dear.

    Raises:
        UserError: They are not counted, or no layer is within the budget.
    """
    most = score.max_parameters if isinstance(score, Measure) else None
    if most is None:
        return None
    parameters = None if count is None else count(backbone)
    if parameters is None:
        raise UserError(uncounted("none"))
    least = min(parameters[layer] for layer in affordable)
    if least > most:
        raise UserError(
            f"selection.max_parameters: expected at least {least}, what the adapter trains in one layer, but got {most}"
        )
    return parameters


def choose_layers(values_L: Tensor, budget: int, excluded: set[int] | None = None) -> list[int]:
    """Returns the `budget` layers with the highest scores, sorted; of equal ones the later, excluded ones last of all.

    Example:
        >>> import torch
        >>> choose_layers(torch.tensor([0.3, 0.1, 0.3, 0.2]), 2)
        [0, 2]
        >>> choose_layers(torch.tensor([0.9, 0.1, 0.3]), 2, excluded={0})
        [1, 2]
    """
    return sorted(best_first(values_L, excluded or set())[:budget])


def best_first(values_L: Tensor, excluded: set[int]) -> list[int]:
    """Returns all layers in the order in which they are chosen."""
    return sorted(
        range(len(values_L)),
        key=lambda layer: (layer in excluded, -float(values_L[layer].nan_to_num()), -layer),
    )


def _fitting(order: Sequence[int], parameters: Sequence[int], most: int) -> list[int]:
    """Returns the layers that are within the budget together, in this order."""
    taken: list[int] = []
    for layer in order:
        if parameters[layer] <= most:
            taken.append(layer)
            most -= parameters[layer]
    return taken


def _fewest(share: float, values_L: Tensor, order: list[int], excluded: set[int]) -> int:
    """Returns how many layers, in this order, hold the share of the sum of the scores above 0, or all of the order."""
    positive = [0.0 if layer in excluded else max(float(values_L[layer]), 0.0) for layer in range(len(values_L))]
    if not any(positive):
        raise UserError("selection.cumulative: expected scores above 0, but got none; use selection.n")
    held = 0.0
    for count, layer in enumerate(order, start=1):
        held += positive[layer]
        if held >= share * sum(positive) * (1 - ROUNDING):
            return count
    return len(order)
