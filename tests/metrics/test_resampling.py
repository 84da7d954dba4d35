"""The interval of a difference between two rankings."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from layersel.metrics import auroc, difference_interval
from layersel.seeding import stream
from layersel.tasks.task import FEWEST_WITNESSES


def ranking(seed: int, separation: float, labels: torch.Tensor) -> torch.Tensor:
    """Scores that tell the classes apart by so many deviations."""
    return torch.randn(len(labels), generator=stream(seed, "ranking"), dtype=torch.float64) + separation * labels


LABELS = torch.tensor([1] * 30 + [0] * 170)


def test_it_is_the_bootstrap_of_a_plain_loop() -> None:
    """The ends equal those by numpy's draws and scikit-learn's AUROC, within what 500 draws leave open."""
    one, other = ranking(0, 1.5, LABELS), ranking(1, 1.0, LABELS)
    draw, classes, found = np.random.default_rng(0), [np.arange(30), np.arange(30, 200)], []
    for _ in range(1000):
        own = np.concatenate([draw.choice(members, len(members)) for members in classes])
        found.append(roc_auc_score(LABELS[own], one[own]) - roc_auc_score(LABELS[own], other[own]))
    low, high = difference_interval(one, other, LABELS, stream(0, "difference"), auroc)
    assert (low, high) == pytest.approx(np.quantile(found, [0.025, 0.975]), abs=0.015)


def test_the_other_way_round_it_is_negated() -> None:
    """The same draws give the same ends with the other sign."""
    one, other = ranking(0, 1.0, LABELS), ranking(1, 2.0, LABELS)
    low, high = difference_interval(one, other, LABELS, stream(0, "difference"))
    assert difference_interval(other, one, LABELS, stream(0, "difference")) == pytest.approx((-high, -low))
    assert low < high < 0


def test_equal_rankings_do_not_differ() -> None:
    """The interval is 0 to 0, however the records are drawn."""
    one = ranking(0, 1.0, LABELS)
    assert difference_interval(one, 2 * one + 1, LABELS, stream(0, "difference")) == (0, 0)


@pytest.mark.parametrize(("included", "known"), [(8, False), (19, False), (20, True)])
def test_few_included_records_tell_nothing(included: int, known: bool) -> None:
    """Below 20 of them AWSS@95 is that of the last one: resampled, it leaves 0 out too often."""
    labels = torch.tensor([1] * included + [0] * 80)
    rankings = ranking(0, 2.0, labels), ranking(1, 1.0, labels)
    low, high = difference_interval(*rankings, labels, stream(0, "difference"), fewest=FEWEST_WITNESSES)
    assert (low < high) if known else (math.isnan(low) and math.isnan(high))


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone(label: int) -> None:
    """The ends are NaN, as the metric is undefined."""
    one = torch.arange(25, dtype=torch.float64)
    ends = difference_interval(one, one, torch.full((25,), label), stream(0, "difference"))
    assert all(math.isnan(end) for end in ends)
