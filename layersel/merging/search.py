"""Choosing λ from a grid by its loss."""

import math
from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor

# Shapes: T adapters.


def search_weights(loss: Callable[[Tensor], float], n_adapters: int, grid: Sequence[float], each: bool) -> Tensor:
    """Returns the λ (T×1, the same in all layers) of least loss: a common one, with `each` then one adapter at a time.

    Adapters are gone through in their order until none gets a better λ; of equal losses the earlier λ stays, so the
    result is always the same and never worse than the best common λ.

    Args:
        loss: The loss of λ (T×1); NaN counts as the worst.
        n_adapters: T.
        grid: The λ to choose from.
        each: Whether every adapter gets a λ of its own.

    Example:
        >>> loss = lambda weights: float((weights - torch.tensor([[0.2], [0.6]])).square().sum())
        >>> search_weights(loss, 2, [0.2, 0.4, 0.6], each=False).T
        tensor([[0.4000, 0.4000]], dtype=torch.float64)
        >>> search_weights(loss, 2, [0.2, 0.4, 0.6], each=True).T
        tensor([[0.2000, 0.6000]], dtype=torch.float64)
    """
    known: dict[tuple[float, ...], float] = {}

    def cost(weights_T: tuple[float, ...]) -> float:
        if weights_T not in known:
            value = loss(_column(weights_T))
            known[weights_T] = math.inf if math.isnan(value) else value
        return known[weights_T]

    best = min(((weight,) * n_adapters for weight in grid), key=cost)
    while each:
        before = best
        for adapter, weight in product(range(n_adapters), grid):
            candidate = (*best[:adapter], weight, *best[adapter + 1 :])
            best = candidate if cost(candidate) < cost(best) else best
        if best == before:
            break
    return _column(best)


def _column(weights_T: tuple[float, ...]) -> Tensor:
    return torch.tensor(weights_T, dtype=torch.float64)[:, None]
