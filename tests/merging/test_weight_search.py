"""The search finds the best λ of its grid, and always the same."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from layersel.merging.search import search_weights

GRID = [0.1, 0.4, 0.7, 1.0]


def bowl(*best: float) -> object:
    """A loss that is least at these λ, with the calls it got."""
    calls: list[tuple[float, ...]] = []

    def loss(weights_T1: Tensor) -> float:
        assert weights_T1.shape == (len(best), 1)
        calls.append(tuple(weights_T1[:, 0].tolist()))
        return float((weights_T1[:, 0] - torch.tensor(best, dtype=torch.float64)).square().sum())

    loss.calls = calls  # type: ignore[attr-defined]
    return loss


@pytest.mark.usefixtures("global_rng_untouched")
def test_a_common_weight_is_the_best_of_the_grid() -> None:
    """One loss for each value."""
    loss = bowl(0.0, 0.9, 0.9)
    assert search_weights(loss, 3, GRID, each=False).tolist() == [[0.7]] * 3
    assert loss.calls == [(weight,) * 3 for weight in GRID]


@pytest.mark.parametrize("best", list(itertools.product([0.0, 0.45, 2.0], repeat=3)))
def test_each_adapter_gets_its_own_best_weight(best: tuple[float, ...]) -> None:
    """Where they do not depend on each other, that of all combinations, in far fewer losses; none is asked twice."""
    loss = bowl(*best)
    nearest = [min(GRID, key=lambda weight: abs(weight - one)) for one in best]
    assert search_weights(loss, 3, GRID, each=True)[:, 0].tolist() == nearest
    assert len(loss.calls) == len(set(loss.calls)) < len(GRID) ** 3 / 2


def test_coupled_weights_are_never_worse_than_a_common_one() -> None:
    """And no single adapter could be improved any more."""

    def loss(weights_T1: Tensor) -> float:
        a, b = weights_T1[:, 0].tolist()
        return (a + b - 1.1) ** 2 + 0.1 * math.sin(9 * a) + 0.2 * (b - 0.3) ** 2

    common, each = (search_weights(loss, 2, GRID, each=each) for each in (False, True))
    assert loss(each) <= loss(common) == min(loss(torch.full((2, 1), weight, dtype=torch.float64)) for weight in GRID)
    for adapter, weight in itertools.product(range(2), GRID):
        other = each.clone()
        other[adapter] = weight
        assert loss(other) >= loss(each)


def test_of_equal_losses_the_earlier_stays_and_nan_is_the_worst() -> None:
    """A flat loss gives the first of the grid; an undefined one is never chosen."""
    assert search_weights(lambda _: 1.0, 2, GRID, each=True)[:, 0].tolist() == [0.1, 0.1]
    loss = lambda weights: math.nan if weights[0] < 0.5 else float(weights.sum())  # noqa: E731
    assert search_weights(loss, 2, GRID, each=False)[:, 0].tolist() == [0.7, 0.7]
    assert search_weights(loss, 2, GRID, each=True)[:, 0].tolist() == [0.7, 0.1]
