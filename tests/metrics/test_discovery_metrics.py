"""When included records are found: ASReview's formulas, written naively, and what they must be at the ends."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from layersel.metrics import auroc
from layersel.metrics.discovery import average_time_to_discovery, discovery_loss, discovery_metrics, ndcg


def in_order(labels: list[int]) -> tuple[Tensor, Tensor]:
    """Scores that rank records of these labels as they stand, and the labels, all in another order."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    return -torch.arange(len(labels)).double()[order], torch.tensor(labels)[order]


def readings() -> list[list[int]]:
    """Orders of 2 to 40 records of both classes."""
    draw = np.random.default_rng(0)
    drawn = [(draw.random(int(draw.integers(2, 41))) < draw.choice([0.1, 0.5])).astype(int).tolist() for _ in range(80)]
    return [labels for labels in drawn if 0 < sum(labels) < len(labels)]


def test_the_metrics_are_those_of_asreview() -> None:
    """Summed record by record, as `asreview.metrics` (3.0.8) and `average_time_to_discovery` (asreview-insights) do."""
    for labels in readings():
        found = discovery_metrics(*in_order(labels))
        n, included = len(labels), sum(labels)
        cumulative = sum(sum(labels[:read]) for read in range(1, n + 1))
        loss = (included * (n - (included - 1) / 2) - cumulative) / (included * (n - included))
        gain = sum(label / math.log2(place + 1) for place, label in enumerate(labels, start=1))
        times = [place for place, label in enumerate(labels, start=1) if label]
        assert found["loss"] == pytest.approx(loss, abs=1e-12)
        assert found["ndcg"] == pytest.approx(gain / sum(1 / math.log2(i + 1) for i in range(1, included + 1)))
        assert found["atd"] == pytest.approx(sum(times) / included)
        assert found["wss@100"] == pytest.approx(1 - times[-1] / n)
        assert found["loss"] == pytest.approx(1 - auroc(*in_order(labels)).item())


def test_a_perfect_order_and_the_worst() -> None:
    """0 and 1 of the loss, an NDCG of 1, and I included records are found at (I+1)/2 on average."""
    best, worst = in_order([1, 1, 1, 0, 0, 0, 0]), in_order([0, 0, 0, 0, 1, 1, 1])
    assert discovery_loss(*best) == 0
    assert ndcg(*best) == pytest.approx(1)
    assert average_time_to_discovery(*best) == 2
    assert discovery_loss(*worst) == 1
    assert average_time_to_discovery(*worst) == 6


def test_ties_and_classes_that_are_missing() -> None:
    """Among tied records the included ones come last; what is undefined is NaN."""
    assert average_time_to_discovery(torch.zeros(4), torch.tensor([1, 0, 0, 1])) == 3.5
    assert discovery_loss(torch.zeros(4), torch.tensor([1, 0, 0, 1])) == 1
    none, every = (torch.zeros(3), torch.zeros(3)), (torch.zeros(3), torch.ones(3))
    assert all(math.isnan(metric(*none)) for metric in (average_time_to_discovery, discovery_loss, ndcg))
    assert math.isnan(discovery_loss(*every))
    assert ndcg(*every) == pytest.approx(1)
