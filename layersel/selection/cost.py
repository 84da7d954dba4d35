"""What a training step costs with adapters in some of the layers and all other weights frozen.

Counted are the floating-point operations (FLOPs) of the matrix products with weights: 2 for each weight and token in
the forward pass, in which all layers take part, and 2 more in the backward pass, which brings the gradient of the
activations from the top down to the lowest adapted layer. Frozen weights have no gradients, and the adapters' are
small. Left out are the products of attention itself, which grow with the texts' length and are the same in every layer.
The lowest adapted layer is counted whole, although what enters it needs no gradient.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from layersel.selection.selection import Selection


def step_flops(weights: Sequence[int], head: int, layers: Sequence[int], kept: bool = False) -> int:
    """Computes the FLOPs of a training step for each token.

    Args:
        weights: The number of weights of each layer.
        head: The number of weights of the head above them.
        layers: The adapted layers.
        kept: Whether what enters the lowest of them is kept from an earlier epoch, so that nothing below is run.

    Example:
        >>> step_flops([10, 10, 10, 10], 5, [2, 3]), step_flops([10, 10, 10, 10], 5, [2, 3], kept=True)
        (140, 100)
    """
    lowest = min(layers)
    above = sum(weights[lowest:]) + head
    return 4 * above + (0 if kept else 2 * sum(weights[:lowest]))


def relative_costs(weights: Sequence[int], head: int) -> list[float]:
    """Computes, for each layer, the cost of a step whose lowest adapted layer it is, with all layers' as 1.

    Example:
        >>> relative_costs([10, 10, 10, 10], 0)
        [1.0, 0.875, 0.75, 0.625]
    """
    whole = step_flops(weights, head, [0])
    return [step_flops(weights, head, [layer]) / whole for layer in range(len(weights))]


def relative_cost(selection: "Selection") -> float | None:
    """Computes the cost of a step with the chosen layers, with all layers' as 1.

    None where no layer is chosen, or the model's weights have not been counted.
    """
    weights = selection.weights
    known = bool(selection.layers) and sum(weights) > 0
    return relative_costs(weights, selection.head_weights)[selection.layers[0]] if known else None


def cost_line(selection: "Selection") -> str | None:
    """Returns the line that compares the chosen layers with all of them, and with the last ones, which cost least.

    None where no layer is chosen, or the model's weights have not been counted.
    """
    if relative_cost(selection) is None:
        return None
    depth, chosen = len(selection.weights), selection.layers
    last = list(range(depth - len(chosen), depth))
    line = f"cost of a training step, with all layers as 1: {_relative(selection, chosen)}"
    return line if chosen == last else f"{line}; of the last {len(last)}, the least: {_relative(selection, last)}"


def _relative(selection: "Selection", layers: Sequence[int]) -> str:
    weights, head = selection.weights, selection.head_weights
    whole = step_flops(weights, head, range(len(weights)))
    cost, kept = (step_flops(weights, head, layers, spared) / whole for spared in (False, True))
    return f"{cost:.2f}" if layers[0] == 0 else f"{cost:.2f} ({kept:.2f} where what enters layer {layers[0]} is kept)"
