"""The torchmetrics classes equal their functions however the epoch is cut into batches."""

import copy
import math
import pickle
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchmetrics import MetricCollection

from layersel import metrics
from layersel.errors import UserError
from layersel.metrics import ScreeningMetric

CASES: dict[str, tuple[Callable[[], ScreeningMetric], Callable[[Tensor, Tensor], Tensor]]] = {
    "WSS": (metrics.WSS, metrics.wss),
    "WSS at 80 %": (lambda: metrics.WSS(recall=0.8), lambda s, y: metrics.wss(s, y, 0.8)),
    "AWSS": (metrics.AWSS, metrics.awss),
    "TNR": (metrics.TNR, metrics.tnr),
    "PrecisionAtRecall": (metrics.PrecisionAtRecall, metrics.precision_at_recall),
    "ThresholdAWSS": (lambda: metrics.ThresholdAWSS(0.25), lambda s, y: metrics.threshold_awss(s, y, 0.25)),
    "RecallAt": (lambda: metrics.RecallAt(0.2), lambda s, y: metrics.recall_at(s, y, 0.2)),
    "AveragePrecision": (metrics.AveragePrecision, metrics.average_precision),
    "AUROC": (metrics.AUROC, metrics.auroc),
}


@pytest.fixture
def epoch() -> tuple[Tensor, Tensor]:
    """60 records, ties included; the second of three batches of 20 has no included record."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(60, generator=generator).round(decimals=1)
    labels = (torch.rand(60, generator=generator) < 0.3).long()
    labels[20:40] = 0
    return scores, labels


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("batch_size", [1, 20, 60])
def test_class_equals_function_over_batches(name: str, batch_size: int, epoch: tuple[Tensor, Tensor]) -> None:
    """Exactly, also when asked twice and when a batch has no included record."""
    build, function = CASES[name]
    metric = build()
    for scores, labels in zip(*(part.split(batch_size) for part in epoch), strict=True):
        metric.update(scores, labels)
    assert metric.compute() == function(*epoch)
    assert metric.compute() == function(*epoch), "computing twice gives the same"
    assert metric.n_positive == int(epoch[1].sum())


@pytest.mark.parametrize("name", CASES)
def test_reset_forgets_the_epoch_and_forward_returns_the_batch_value(name: str, epoch: tuple[Tensor, Tensor]) -> None:
    """`forward` gives the value of its batch and keeps the batch for the epoch."""
    build, function = CASES[name]
    metric, (scores, labels) = build(), epoch
    metric.update(scores, 1 - labels)
    metric.reset()
    assert metric(scores[:20], labels[:20]) == function(scores[:20], labels[:20])
    assert metric(scores[20:40], labels[20:40]).isnan()
    metric.update(scores[40:], labels[40:])
    assert metric.compute() == function(scores, labels)


@pytest.mark.parametrize("name", CASES)
def test_an_epoch_without_records_is_nan(name: str) -> None:
    """No update, no error."""
    metric = CASES[name][0]()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
        assert metric.compute().isnan()
    assert metric.n_positive == 0


@pytest.mark.parametrize("name", CASES)
def test_flags_are_declared(name: str) -> None:
    """What Lightning and torchmetrics read off a metric."""
    metric = CASES[name][0]()
    assert metric.higher_is_better is True
    assert metric.is_differentiable is False
    assert metric.full_state_update is False


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda metric: pickle.loads(pickle.dumps(metric))])  # noqa: S301
def test_a_copy_keeps_its_argument_and_records(
    duplicate: Callable[[metrics.WSS], metrics.WSS], epoch: tuple[Tensor, Tensor]
) -> None:
    """Metrics are copied by collections and pickled by launchers."""
    metric = metrics.WSS(recall=0.8)
    metric.update(*epoch)
    assert duplicate(metric).compute() == metrics.wss(*epoch, recall=0.8)


def test_metrics_share_an_epoch_in_a_collection(epoch: tuple[Tensor, Tensor]) -> None:
    """Compute groups merge metrics with equal states; the values stay apart."""
    collection = MetricCollection([metrics.AWSS(), metrics.AUROC(), metrics.RecallAt(0.5)])
    for scores, labels in zip(*(part.split(20) for part in epoch), strict=True):
        collection.update(scores, labels)
    expected = {
        "AWSS": metrics.awss(*epoch),
        "AUROC": metrics.auroc(*epoch),
        "RecallAt": metrics.recall_at(*epoch, 0.5),
    }
    assert collection.compute() == expected


def test_a_broken_batch_is_refused_when_it_comes() -> None:
    """Batches that only fit together once joined do not slip through."""
    metric = metrics.AWSS()
    with pytest.raises(ValueError, match="shapes"):
        metric.update(torch.rand(3), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="1 of 2 are NaN"):
        metric.update(torch.tensor([0.1, math.nan]), torch.tensor([0, 1]))
    assert metric.n_positive == 0


@pytest.mark.parametrize("kind", [metrics.WSS, metrics.AWSS, metrics.TNR, metrics.RecallAt])
def test_a_bad_argument_is_refused_at_construction(kind: Callable[[float], ScreeningMetric]) -> None:
    """Not after the first epoch."""
    with pytest.raises(UserError, match=r"expected a number in \(0, 1\], but got 95"):
        kind(95)


def test_an_unknown_argument_is_refused() -> None:
    """A misspelt name does not leave the default in place."""
    with pytest.raises(ValueError, match="Unexpected keyword arguments: `recal`"):
        metrics.WSS(recal=0.9)


def test_scores_keep_no_graph() -> None:
    """An epoch of kept scores must not keep its activations."""
    metric = metrics.AUROC()
    metric.update(torch.rand(4, requires_grad=True), torch.tensor([0, 1, 0, 1]))
    assert not metric.scores[0].requires_grad


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float64])
def test_labels_are_kept_in_the_dtype_that_an_idle_rank_gathers(dtype: torch.dtype) -> None:
    """A rank that saw no batch sends an empty tensor of the metric's dtype."""
    metric = metrics.AWSS()
    metric.update(torch.rand(4), torch.tensor([0, 1, 0, 1]).to(dtype))
    assert metric.labels[0].dtype is metric.dtype
    assert metric.n_positive == 2
