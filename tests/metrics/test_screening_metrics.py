"""The screening metrics against a reader who opens the records one by one, and against scikit-learn."""

import itertools
import math
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import partial
from itertools import groupby

import pytest
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from layersel.errors import UserError
from layersel.metrics import (
    auroc,
    average_precision,
    awss,
    check_records,
    confusion_at_recall,
    gain_curve,
    precision_at_recall,
    recall_at,
    screening_metrics,
    threshold_awss,
    tnr,
    wss,
)

METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "wss": wss,
    "awss": awss,
    "tnr": tnr,
    "precision_at_recall": precision_at_recall,
    "recall_at": partial(recall_at, share=0.3),
    "average_precision": average_precision,
    "auroc": auroc,
    "threshold_awss": partial(threshold_awss, threshold=0.0),
}
RANKING = [name for name in METRICS if name != "threshold_awss"]
NEEDS_EXCLUDED = ["awss", "tnr", "auroc", "threshold_awss"]

Records = list[tuple[int, int]]
# Few distinct scores, negative ones included, so that ties are the rule.
records_strategy = st.lists(st.tuples(st.integers(-4, 4), st.integers(0, 1)), min_size=1, max_size=25)
recalls = st.sampled_from(["0.05", "0.1", "0.35", "0.5", "0.55", "0.7", "0.8", "0.9", "0.95", "1.0"])


def tensors(records: Records) -> tuple[Tensor, Tensor]:
    """The scores (n,) and labels (n,) of the records."""
    return torch.tensor([float(s) for s, _ in records]), torch.tensor([y for _, y in records])


def tie_groups(records: Records) -> Iterator[list[int]]:
    """The labels of the records of one score at a time, best score first."""
    ranked = sorted(records, key=lambda record: -record[0])
    return ([y for _, y in group] for _, group in groupby(ranked, key=lambda record: record[0]))


def read_until(records: Records, recall: str) -> tuple[int, int, int, int]:
    """(TP, FP, TN, FN) of a reader who stops only between tied groups; decimal arithmetic."""
    included = sum(y for _, y in records)
    tp = fp = 0
    for group in tie_groups(records):
        for y in group:
            tp, fp = tp + y, fp + 1 - y
        if Decimal(tp) >= Decimal(recall) * included:
            break
    return tp, fp, len(records) - included - fp, included - tp


def read_share(records: Records, share: str) -> float:
    """Recall of a reader with a budget whom every tied group shows its excluded records first."""
    budget, found = int(Decimal(share) * len(records)), 0
    for y in itertools.chain.from_iterable(sorted(group) for group in tie_groups(records)):
        if budget > 0:
            found, budget = found + y, budget - 1
    return found / sum(y for _, y in records)


def has(records: Records, *labels: int) -> bool:
    """Whether every one of `labels` occurs."""
    return {y for _, y in records} >= set(labels)


@given(records_strategy.filter(lambda r: has(r, 1)), recalls)
@settings(deadline=None, max_examples=200)
def test_cut_metrics_equal_reading_record_by_record(records: Records, recall: str) -> None:
    """Every metric of the cut follows from the four counts of the patient reader."""
    scores, labels = tensors(records)
    tp, fp, tn, fn = read_until(records, recall)
    r = float(recall)
    assert [int(count) for count in confusion_at_recall(scores, labels, r)] == [tp, fp, tn, fn]
    assert wss(scores, labels, r).item() == pytest.approx((tn + fn) / len(records) - (1 - r))
    assert precision_at_recall(scores, labels, r).item() == pytest.approx(tp / (tp + fp))
    if tn + fp:
        assert tnr(scores, labels, r).item() == pytest.approx(tn / (tn + fp))
        assert awss(scores, labels, r).item() == pytest.approx(tn / (tn + fp) - (1 - r))


@given(
    records_strategy.filter(lambda r: has(r, 1)),
    st.sampled_from(["0.01", "0.1", "0.29", "0.5", "0.7", "1.0"]),
)
@settings(deadline=None, max_examples=200)
def test_recall_at_equals_reading_record_by_record(records: Records, share: str) -> None:
    """A budget of records finds what the unlucky reader finds."""
    assert recall_at(*tensors(records), float(share)).item() == pytest.approx(read_share(records, share))


@given(records_strategy.filter(lambda r: has(r, 1)), st.integers(1, 40))
@settings(deadline=None)
def test_gain_curve_equals_reading_record_by_record(records: Records, steps: int) -> None:
    """Every point of it, from nothing to all that is found."""
    found = gain_curve(*tensors(records), steps).tolist()
    assert found == pytest.approx(
        [read_share(records, f"{Decimal(k) / steps + Decimal('1e-9')}") for k in range(steps + 1)]
    )
    assert (found[0], found[-1]) == (0, 1)


@given(records_strategy.filter(lambda r: has(r, 0, 1)), st.integers(-5, 5))
@settings(deadline=None)
def test_threshold_awss_counts_records_at_or_above_the_threshold(records: Records, threshold: int) -> None:
    """A score equal to the threshold is predicted included."""
    excluded = [s for s, y in records if not y]
    included = [s for s, y in records if y]
    saved = sum(s < threshold for s in excluded) / len(excluded)
    lost = sum(s < threshold for s in included) / len(included)
    assert threshold_awss(*tensors(records), threshold).item() == pytest.approx(saved - lost)


@given(records_strategy.filter(lambda r: has(r, 0, 1)))
@settings(deadline=None)
def test_average_precision_and_auroc_equal_scikit_learn(records: Records) -> None:
    """Ties included."""
    scores, labels = tensors(records)
    reference = sklearn.metrics.average_precision_score(labels, scores)
    assert average_precision(scores, labels).item() == pytest.approx(reference)
    assert auroc(scores, labels).item() == pytest.approx(sklearn.metrics.roc_auc_score(labels, scores))


@pytest.mark.parametrize("name", RANKING)
@given(records=records_strategy)
@settings(deadline=None, max_examples=30)
def test_strictly_monotone_transforms_change_nothing(name: str, records: Records) -> None:
    """Only the order of the scores counts."""
    scores, labels = tensors(records)
    before = METRICS[name](scores, labels)
    for transformed in (scores.double().exp(), 1e4 * scores - 1e6, scores.double().atan()):
        torch.testing.assert_close(METRICS[name](transformed, labels), before, equal_nan=True)


@pytest.mark.parametrize("name", METRICS)
@given(records=records_strategy, seed=st.integers(0, 2**16))
@settings(deadline=None, max_examples=30)
def test_the_order_of_the_records_changes_nothing(name: str, records: Records, seed: int) -> None:
    """Ties are not broken by the position in the file."""
    scores, labels = tensors(records)
    order = torch.randperm(len(scores), generator=torch.Generator().manual_seed(seed))
    before, after = METRICS[name](scores, labels), METRICS[name](scores[order], labels[order])
    torch.testing.assert_close(after, before, equal_nan=True)


@pytest.mark.parametrize("name", ["wss", "awss", "tnr", "precision_at_recall", "recall_at"])
@given(records=records_strategy.filter(lambda r: has(r, 0, 1)), seed=st.integers(0, 2**16))
@settings(deadline=None, max_examples=50)
def test_ties_never_flatter(name: str, records: Records, seed: int) -> None:
    """Breaking the ties at random can only raise a metric."""
    scores, labels = tensors(records)
    noise = torch.rand(len(scores), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert METRICS[name](scores, labels) <= METRICS[name](scores + noise / 2, labels) + 1e-12


@given(records_strategy.filter(lambda r: has(r, 0, 1)), recalls.map(float))
@settings(deadline=None)
def test_tnr_is_wss_scaled_between_its_worst_and_best_value(records: Records, recall: float) -> None:
    """Kusa et al. 2023: nWSS = (WSS − min)/(max − min), over all rankings with the FN of this cut."""
    scores, labels = tensors(records)
    n, fn = len(records), confusion_at_recall(scores, labels, recall).fn.item()
    worst = fn / n - (1 - recall)
    best = (sum(1 - y for _, y in records) + fn) / n - (1 - recall)
    scaled = (wss(scores, labels, recall).item() - worst) / (best - worst)
    assert scaled == pytest.approx(tnr(scores, labels, recall).item())
    assert scaled == pytest.approx(awss(scores, labels, recall).item() + 1 - recall)


@given(records_strategy.filter(lambda r: has(r, 0, 1)), recalls.map(float))
@settings(deadline=None)
def test_awss_at_a_recall_is_threshold_awss_at_that_cut_plus_the_recall_won(records: Records, recall: float) -> None:
    """AWSS@r leaves out how far the cut overshoots r: they differ by the recall reached less r."""
    scores, labels = tensors(records)
    counts = confusion_at_recall(scores, labels, recall)
    reached = (counts.tp / (counts.tp + counts.fn)).item()
    cut = scores[labels == 1].sort(descending=True).values[int(counts.tp) - 1].item()
    expected = threshold_awss(scores, labels, cut).item() - (reached - recall)
    assert awss(scores, labels, recall).item() == pytest.approx(expected)


def test_hand_computed_example() -> None:
    """20 of 100 included; the 19th of them, the one that 95 % asks for, is the 29th of the ranking."""
    labels = torch.tensor([1] * 18 + [0] * 10 + [1] + [0] * 70 + [1])
    scores = torch.arange(100, 0, -1)
    assert [int(count) for count in confusion_at_recall(scores, labels, 0.95)] == [19, 10, 70, 1]
    assert wss(scores, labels).item() == pytest.approx(0.71 - 0.05)
    assert awss(scores, labels).item() == pytest.approx(70 / 80 - 0.05)
    assert tnr(scores, labels).item() == pytest.approx(70 / 80)
    assert precision_at_recall(scores, labels).item() == pytest.approx(19 / 29)
    assert wss(scores, labels, 1.0).item() == 0
    assert tnr(scores, labels, 1.0).item() == 0
    assert threshold_awss(scores, labels, 100 - 28).item() == pytest.approx(70 / 80 - 1 / 20)
    assert recall_at(scores, labels, 0.1).item() == pytest.approx(0.5)
    assert recall_at(scores, labels, 0.5).item() == pytest.approx(0.95)
    assert auroc(scores, labels).item() == pytest.approx((18 * 80 + 70) / 1600)
    assert average_precision(scores, labels).item() == pytest.approx((18 + 19 / 29 + 20 / 100) / 20)


@pytest.mark.parametrize(("recall", "included", "needed"), [(0.95, 20, 19), (0.55, 20, 11), (0.07, 100, 7)])
def test_the_number_of_records_needed_is_exact(recall: float, included: int, needed: int) -> None:
    """0.55·20 and 0.07·100 exceed 11 and 7 in floating point."""
    counts = confusion_at_recall(torch.arange(included), torch.ones(included), recall)
    assert counts.tp == needed


@pytest.mark.parametrize("recall", [1 - 0.3, 7 * 0.1, 0.7])
def test_a_recall_with_rounding_errors_means_the_same(recall: float) -> None:
    """1 − 0.3 and 7·0.1 are not 0.7 in floating point."""
    assert confusion_at_recall(torch.arange(10), torch.ones(10), recall).tp == 7


@pytest.mark.parametrize("recall", [1e-3, 1e-9])
def test_any_recall_asks_for_one_record(recall: float) -> None:
    """A prefix without an included record has recall 0, less than any recall asked for."""
    assert confusion_at_recall(torch.arange(10), torch.ones(10), recall).tp == 1


def test_the_share_of_records_read_is_exact() -> None:
    """0.29·100 is 28.999999999999996 in floating point, and 29 records can be read."""
    labels = torch.zeros(100)
    labels[28] = 1
    assert recall_at(torch.arange(100, 0, -1), labels, 0.29) == 1
    assert recall_at(torch.arange(100, 0, -1), labels, 0.28) == 0


def test_a_ranking_of_ties_saves_nothing() -> None:
    """All records tie with the last one needed, so all are read."""
    scores, labels = torch.zeros(10), torch.tensor([1, 0] * 5)
    assert wss(scores, labels).item() == pytest.approx(-0.05)
    assert awss(scores, labels).item() == pytest.approx(-0.05)
    assert tnr(scores, labels) == 0
    assert recall_at(scores, labels, 0.5) == 0
    assert auroc(scores, labels) == 0.5
    assert average_precision(scores, labels) == 0.5


@pytest.mark.parametrize("name", RANKING)
def test_scores_below_zero_count(name: str) -> None:
    """A published implementation ignored scores ≤ 0."""
    scores, labels = torch.tensor([-1.0, -2.0, -3.0, -4.0]), torch.tensor([1, 0, 1, 0])
    assert METRICS[name](scores, labels) == METRICS[name](scores + 10, labels)


def test_extreme_scores_are_not_squashed_into_ties() -> None:
    """A sigmoid, as torchmetrics applies to such scores, would make them all 1."""
    scores, labels = torch.tensor([103.0, 102.0, 101.0, 100.0]), torch.tensor([1, 1, 0, 0])
    assert auroc(scores, labels) == average_precision(scores, labels) == 1


def test_the_two_zeros_are_tied() -> None:
    """0 and −0 are one score."""
    assert auroc(torch.tensor([0.0, -0.0]), torch.tensor([1, 0])) == 0.5


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("n", [0, 1, 5])
def test_no_included_record_gives_nan(name: str, n: int) -> None:
    """Not 0, which would pass for a bad model."""
    assert METRICS[name](torch.rand(n), torch.zeros(n)).isnan()


def test_no_included_record_leaves_no_counts() -> None:
    """There is no cut, so no count is a number."""
    assert all(count.isnan() for count in confusion_at_recall(torch.rand(5), torch.zeros(5), 0.95))


@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("name", METRICS)
def test_only_included_records_give_nan_where_excluded_ones_divide(name: str, n: int) -> None:
    """Elsewhere the metric is defined, and a number."""
    assert METRICS[name](torch.rand(n), torch.ones(n)).isnan() == (name in NEEDS_EXCLUDED)


def test_one_included_record() -> None:
    """The smallest ranking; 90 % of one record is no record."""
    scores, labels = torch.tensor([0.3]), torch.tensor([1])
    assert wss(scores, labels, 1.0) == 0
    assert average_precision(scores, labels) == 1
    assert recall_at(scores, labels, 1.0) == 1
    assert recall_at(scores, labels, 0.9) == 0


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_dtypes_and_label_types_do_not_matter(name: str, dtype: torch.dtype) -> None:
    """The result is a 0-dimensional float64 tensor of one value."""
    scores, labels = torch.tensor([3, 1, -2, -4, 0]).to(dtype), torch.tensor([1, 0, 1, 0, 1])
    values = {METRICS[name](scores, kind).item() for kind in (labels, labels.bool(), labels.float())}
    assert values == {METRICS[name](scores.float(), labels).item()}
    assert METRICS[name](scores, labels).dtype is torch.float64
    assert METRICS[name](scores, labels).ndim == 0


@pytest.mark.parametrize("metric", [wss, awss, tnr, precision_at_recall, recall_at])
@pytest.mark.parametrize("share", [0.0, -0.1, 1.0001, 95, math.nan])
def test_a_share_outside_0_to_1_is_refused(metric: Callable[..., Tensor], share: float) -> None:
    """95 for 0.95 among them."""
    with pytest.raises(UserError, match=rf"expected a number in \(0, 1\], but got {share}"):
        metric(torch.rand(4), torch.tensor([0, 1, 0, 1]), share)


def test_a_threshold_that_is_no_number_is_refused() -> None:
    """It would predict every record excluded."""
    with pytest.raises(UserError, match="threshold: expected a number, but got nan"):
        threshold_awss(torch.rand(4), torch.tensor([0, 1, 0, 1]), math.nan)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([1.0, math.nan, math.inf], [0, 1, 0], "scores: expected finite numbers, but 2 of 3 are NaN or inf"),
        ([1.0, 2.0], [0, 1, 0], r"shapes \(2,\) and \(3,\)"),
        ([[1.0, 2.0]], [[0, 1]], r"expected two vectors of one length, but got the shapes \(1, 2\)"),
        ([1.0, 2.0, 3.0], [0, 2, -1], r"labels: expected only 0 and 1, but got \[-1, 2\]"),
        ([1.0, 2.0], [0.0, math.nan], "labels: expected only 0 and 1"),
        ([1.0, 2.0], [0.0, 0.5], "labels: expected only 0 and 1"),
    ],
)
def test_records_that_cannot_be_ranked_are_refused(
    name: str, scores: list[float], labels: list[float], message: str
) -> None:
    """By every metric, with the number or the values at fault."""
    with pytest.raises(ValueError, match=message):
        METRICS[name](torch.tensor(scores), torch.tensor(labels))


def test_check_records_accepts_no_records() -> None:
    """An empty batch is no error."""
    check_records(torch.empty(0), torch.empty(0))


def test_screening_metrics_reports_each_figure_under_its_name() -> None:
    """The keys, their order, and what each stands for."""
    scores = torch.rand(200, generator=torch.Generator().manual_seed(0))
    labels = (scores + torch.rand(200, generator=torch.Generator().manual_seed(1)) > 1.5).long()
    figures = screening_metrics(scores, labels)
    assert figures == {
        "awss@95": awss(scores, labels, 0.95).item(),
        "wss@95": wss(scores, labels, 0.95).item(),
        "tnr@95": tnr(scores, labels, 0.95).item(),
        "average_precision": average_precision(scores, labels).item(),
        "auroc": auroc(scores, labels).item(),
        "recall@10%": recall_at(scores, labels, 0.1).item(),
        "recall@20%": recall_at(scores, labels, 0.2).item(),
        "recall@50%": recall_at(scores, labels, 0.5).item(),
    }
    assert list(figures)[:5] == ["awss@95", "wss@95", "tnr@95", "average_precision", "auroc"]
    assert list(figures)[5:] == ["recall@10%", "recall@20%", "recall@50%"]
    assert all(type(value) is float for value in figures.values())


def test_screening_metrics_without_included_records_are_nan() -> None:
    """Every figure, as plain numbers."""
    assert all(map(math.isnan, screening_metrics(torch.rand(5), torch.zeros(5)).values()))
