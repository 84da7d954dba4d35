"""Metrics of how much reading a ranking of records saves, and of how well it ranks.

`scores` has the shape (n,) and holds any finite numbers, higher = more likely included; only their order
counts, except for `threshold_awss`. `labels` has the same shape: 1 = included, 0 = excluded. I included and E
excluded records make n; TP, FP (read) and TN, FN (not read) are counted at a cut of the ranking.

Every function returns a 0-dimensional float64 tensor on the CPU (MPS has no float64), NaN where the metric is
undefined (never 0), and raises `ValueError` for records that `check_records` refuses.
"""

import math
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor

from layersel.errors import UserError


class Confusion(NamedTuple):
    """The four counts at a cut of the ranking, as 0-dimensional float64 tensors."""

    tp: Tensor
    fp: Tensor
    tn: Tensor
    fn: Tensor

    @property
    def specificity(self) -> Tensor:
        """TN/E, the share of the excluded records that nobody reads; NaN when E = 0."""
        return self.tn / (self.tn + self.fp)


def check_records(scores: Tensor, labels: Tensor) -> None:
    """Raises an error for records that cannot be ranked.

    Raises:
        ValueError: `scores` and `labels` are not two vectors of one length, a score is NaN or infinite, or a
            label is neither 0 nor 1.

    Example:
        >>> check_records(torch.tensor([0.2, float("nan")]), torch.tensor([1, 0]))
        Traceback (most recent call last):
        ValueError: scores: expected finite numbers, but 1 of 2 are NaN or inf
    """
    if scores.ndim != 1 or scores.shape != labels.shape:
        got = f"{tuple(scores.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"scores and labels: expected two vectors of one length, but got the shapes {got}")
    broken = int((~scores.isfinite()).sum())
    if broken:
        raise ValueError(f"scores: expected finite numbers, but {broken} of {len(scores)} are NaN or inf")
    strange = labels[(labels != 0) & (labels != 1)]
    if len(strange):
        raise ValueError(f"labels: expected only 0 and 1, but got {sorted(set(strange.tolist()))}")


def wss(scores: Tensor, labels: Tensor, recall: float = 0.95) -> Tensor:
    """Returns the work saved over sampling, (TN+FN)/n − (1−r), at the smallest prefix of the ranking with recall ≥ r.

    It is the share of the reading saved, less what a random order saves at the same recall (Cohen et al. 2006,
    Reducing workload in systematic review preparation). Records tied with the last one read are read too.
    NaN when I = 0.

    Raises:
        UserError: `recall` is outside (0, 1].

    Example:
        >>> wss(torch.tensor([0.9, 0.8, 0.3, -0.1]), torch.tensor([1, 0, 1, 0]), recall=1.0)
        tensor(0.2500, dtype=torch.float64)
    """
    tp, fp, tn, fn = confusion_at_recall(scores, labels, recall)
    return (tn + fn) / (tp + fp + tn + fn) - (1 - recall)


def awss(scores: Tensor, labels: Tensor, recall: float = 0.95) -> Tensor:
    """Returns the adjusted work saved over sampling, TN/E − (1−r), at the cut of `wss` (Melo et al. 2022).

    Unlike WSS it does not depend on the share of included records. NaN when I = 0 or E = 0.

    Raises:
        UserError: `recall` is outside (0, 1].

    Example:
        >>> awss(torch.tensor([0.9, 0.8, 0.3, -0.1]), torch.tensor([1, 0, 1, 0]), recall=1.0)
        tensor(0.5000, dtype=torch.float64)
    """
    return tnr(scores, labels, recall) - (1 - recall)


def tnr(scores: Tensor, labels: Tensor, recall: float = 0.95) -> Tensor:
    """Returns the true negative rate, TN/E, at the cut of `wss`: the normalised WSS of Kusa et al. 2023.

    NaN when I = 0 or E = 0.

    Raises:
        UserError: `recall` is outside (0, 1].

    Example:
        >>> tnr(torch.tensor([0.9, 0.8, 0.3, -0.1]), torch.tensor([1, 0, 1, 0]))
        tensor(0.5000, dtype=torch.float64)
    """
    return confusion_at_recall(scores, labels, recall).specificity


def precision_at_recall(scores: Tensor, labels: Tensor, recall: float = 0.95) -> Tensor:
    """Returns TP/(TP+FP) at the cut of `wss`. NaN when I = 0.

    Raises:
        UserError: `recall` is outside (0, 1].

    Example:
        >>> precision_at_recall(torch.tensor([0.9, 0.8, 0.3, -0.1]), torch.tensor([1, 0, 1, 0]))
        tensor(0.6667, dtype=torch.float64)
    """
    counts = confusion_at_recall(scores, labels, recall)
    return counts.tp / (counts.tp + counts.fp)


def threshold_awss(scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """Returns TN/E − FN/I where score ≥ `threshold` means predicted included (Melo et al. 2022).

    It equals recall + TN/E − 1. NaN when I = 0 or E = 0.

    Raises:
        UserError: `threshold` is NaN.

    Example:
        >>> threshold_awss(torch.tensor([0.9, 0.8, 0.3, -0.1]), torch.tensor([1, 0, 1, 0]), threshold=0.5)
        tensor(0., dtype=torch.float64)
    """
    if math.isnan(threshold):
        raise UserError(f"threshold: expected a number, but got {threshold}")
    counts = _confusion(*_split(scores, labels), threshold)
    return counts.specificity - counts.fn / (counts.tp + counts.fn)


def recall_at(scores: Tensor, labels: Tensor, share: float) -> Tensor:
    """Returns the recall after reading the best floor(`share`·n) records.

    Among tied records the excluded ones are read first, so that ties do not favour the ranking. NaN when I = 0.

    Raises:
        UserError: `share` is outside (0, 1].

    Example:
        >>> recall_at(torch.tensor([0.9, 0.8, 0.3, -0.1]), torch.tensor([1, 0, 1, 0]), share=0.5)
        tensor(0.5000, dtype=torch.float64)
    """
    budget = math.floor(_exact("share", share) * len(scores))
    return (included_places(scores, labels) <= budget).double().mean()


def gain_curve(scores: Tensor, labels: Tensor, steps: int) -> Tensor:
    """Returns the recall after reading the best floor(k·n/K) records, for k = 0 … K and K `steps`: (K+1,).

    Among tied records the excluded ones are read first, as in `recall_at`. NaN when I = 0.

    Example:
        >>> gain_curve(torch.tensor([0.9, 0.8, 0.3, -0.1]), torch.tensor([1, 0, 1, 0]), steps=2)
        tensor([0.0000, 0.5000, 1.0000], dtype=torch.float64)
    """
    budgets = torch.arange(steps + 1) * len(scores) // steps
    return (included_places(scores, labels) <= budgets.unsqueeze(1)).double().mean(dim=1)


def average_precision(scores: Tensor, labels: Tensor) -> Tensor:
    """Returns the mean over the included records of the precision where each is found: Σ (R_k − R_{k−1}) P_k.

    Tied records form one step of the curve, as in scikit-learn. NaN when I = 0.

    Example:
        >>> average_precision(torch.tensor([0.9, 0.8, 0.3, -0.1]), torch.tensor([1, 0, 1, 0]))
        tensor(0.8333, dtype=torch.float64)
    """
    included, excluded = _split(scores, labels)
    tp, fp = _at_or_above(included, included), _at_or_above(excluded, included)
    return (tp / (tp + fp)).mean()


def auroc(scores: Tensor, labels: Tensor) -> Tensor:
    """Returns the area under the ROC curve: P(included above excluded) + ½ P(tied), over all I·E pairs.

    It is computed in the Mann–Whitney form (Hanley and McNeil 1982). NaN when I = 0 or E = 0.

    Example:
        >>> auroc(torch.tensor([0.9, 0.8, 0.3, -0.1]), torch.tensor([1, 0, 1, 0]))
        tensor(0.7500, dtype=torch.float64)
    """
    included, excluded = _split(scores, labels)
    below = torch.searchsorted(excluded, included)
    not_above = torch.searchsorted(excluded, included, right=True)
    return (below + not_above).double().mean() / (2 * len(excluded))


def screening_metrics(scores: Tensor, labels: Tensor) -> dict[str, float]:
    """Returns the figures that a table of results reports, as plain numbers.

    Example:
        >>> figures = screening_metrics(torch.tensor([0.9, 0.8, 0.3, -0.1]), torch.tensor([1, 0, 1, 0]))
        >>> figures["auroc"], figures["recall@50%"]
        (0.75, 0.5)
    """
    values = {
        "awss@95": awss(scores, labels),
        "wss@95": wss(scores, labels),
        "tnr@95": tnr(scores, labels),
        "average_precision": average_precision(scores, labels),
        "auroc": auroc(scores, labels),
        "recall@10%": recall_at(scores, labels, 0.1),
        "recall@20%": recall_at(scores, labels, 0.2),
        "recall@50%": recall_at(scores, labels, 0.5),
    }
    return {name: value.item() for name, value in values.items()}


def confusion_at_recall(scores: Tensor, labels: Tensor, recall: float) -> Confusion:
    """Returns the counts after reading the smallest prefix of the ranking with recall ≥ `recall`, all NaN when I = 0.

    Ties are pessimistic: who stops at a score has read every record with that score.

    Raises:
        UserError: `recall` is outside (0, 1].

    Example:
        >>> counts = confusion_at_recall(torch.tensor([3.0, 2.0, 2.0, 1.0]), torch.tensor([0, 1, 0, 1]), 0.5)
        >>> [int(count) for count in counts]
        [1, 2, 0, 1]
    """
    included, excluded = _split(scores, labels)
    cut = _cut(included, recall)
    if cut.isnan():
        return Confusion(*included.new_full((4,), math.nan))
    return _confusion(included, excluded, cut.item())


def score_at_recall(scores: Tensor, labels: Tensor, recall: float) -> Tensor:
    """Returns the lowest score in the smallest prefix of the ranking with recall ≥ `recall`; NaN when I = 0.

    Raises:
        UserError: `recall` is outside (0, 1].

    Example:
        >>> score_at_recall(torch.tensor([3.0, 2.0, 2.0, 1.0]), torch.tensor([0, 1, 0, 1]), 0.5)
        tensor(2., dtype=torch.float64)
    """
    return _cut(_split(scores, labels)[0], recall)


def _cut(included: Tensor, recall: float) -> Tensor:
    """Returns the highest of the ascending scores that a share of the included records reach; NaN when I = 0."""
    fraction = _exact("recall", recall)
    if not len(included):
        return included.new_full((), math.nan)
    return included[-max(1, math.ceil(fraction * len(included)))]


def included_places(scores: Tensor, labels: Tensor) -> Tensor:
    """Returns after how many records each included one is found, float64 (I,), if of tied ones it comes last."""
    included, excluded = _split(scores, labels)
    return _at_or_above(excluded, included.flip(0)) + torch.arange(1, len(included) + 1)


def _exact(argument: str, value: float) -> Fraction:
    """Returns a share in (0, 1] as the fraction that was meant: 0.55·20 is 11, not 11.000000000000002."""
    if not 0 < value <= 1:
        raise UserError(f"{argument}: expected a number in (0, 1], but got {value}")
    return Fraction(value).limit_denominator(1_000_000)


def _split(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the scores of the included (I,) and of the excluded records (E,), ascending."""
    check_records(scores, labels)
    values = scores.detach().to("cpu", torch.float64)
    is_included = labels.detach().to("cpu", torch.bool)
    return values[is_included].sort().values, values[~is_included].sort().values


def _confusion(included: Tensor, excluded: Tensor, cut: float) -> Confusion:
    """Returns the counts when every record with a score ≥ `cut` is read."""
    tp, fp = (included >= cut).sum().double(), (excluded >= cut).sum().double()
    return Confusion(tp=tp, fp=fp, tn=len(excluded) - fp, fn=len(included) - tp)


def _at_or_above(ascending: Tensor, cuts: Tensor) -> Tensor:
    """Returns how many of the `ascending` scores (m,) reach each of the `cuts`: float64 (c,)."""
    return len(ascending) - torch.searchsorted(ascending, cuts).double()
