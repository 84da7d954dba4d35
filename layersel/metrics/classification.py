"""Metrics of predicted classes and of predicted numbers, as GLUE has them.

Predictions and truths have the shape (N,). Classes are indices from 0. Every function returns a plain number, NaN where
the metric is undefined (never 0), and raises `ValueError` for two vectors of different lengths.
"""

import math

import torch
from torch import Tensor

# Shapes: N examples, K classes.


def confusion(predicted_N: Tensor, true_N: Tensor, n_classes: int) -> Tensor:
    """Counts the examples of each true class (row) by their predicted class (column): K×K, float64.

    Example:
        >>> confusion(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), 2).tolist()
        [[1.0, 1.0], [0.0, 1.0]]
    """
    _check(predicted_N, true_N)
    pairs_N = true_N.long() * n_classes + predicted_N.long()
    return torch.bincount(pairs_N, minlength=n_classes**2).reshape(n_classes, n_classes).double()


def accuracy(predicted_N: Tensor, true_N: Tensor) -> float:
    """Returns the share of the examples whose class is predicted. NaN without an example.

    Example:
        >>> accuracy(torch.tensor([0, 1, 1, 2]), torch.tensor([0, 1, 2, 2]))
        0.75
    """
    _check(predicted_N, true_N)
    return float((predicted_N == true_N).double().mean())


def f1(predicted_N: Tensor, true_N: Tensor, positive: int = 1) -> float:
    """Returns 2TP/(2TP + FP + FN) of the class `positive`. NaN where it is neither there nor predicted, or alone there.

    With the other classes absent, every prediction of `positive` is right, so that the number would say nothing.

    Example:
        >>> f1(torch.tensor([1, 1, 0, 0]), torch.tensor([1, 0, 1, 0]))
        0.5
    """
    _check(predicted_N, true_N)
    if len(set(true_N.tolist())) < 2:
        return math.nan
    found, there = predicted_N == positive, true_N == positive
    total = int(found.sum() + there.sum())
    return 2 * int((found & there).sum()) / total if total else math.nan


def macro_f1(predicted_N: Tensor, true_N: Tensor) -> float:
    """Returns the mean F1 of the classes that are there or predicted. NaN where only one class is there.

    Example:
        >>> macro_f1(torch.tensor([1, 1, 0, 0]), torch.tensor([1, 0, 1, 0]))
        0.5
    """
    _check(predicted_N, true_N)
    if len(set(true_N.tolist())) < 2:
        return math.nan
    classes = {*predicted_N.tolist(), *true_N.tolist()}
    return math.fsum(f1(predicted_N, true_N, int(positive)) for positive in sorted(classes)) / len(classes)


def matthews(predicted_N: Tensor, true_N: Tensor) -> float:
    """Returns Matthews' correlation of any number of classes (Gorodkin 2004, R_K). NaN where a side has one class only.

    Example:
        >>> matthews(torch.tensor([1, 1, 0, 0]), torch.tensor([1, 1, 1, 0]))
        0.5773502691896258
    """
    _check(predicted_N, true_N)
    if not len(true_N):
        return math.nan
    table_KK = confusion(predicted_N, true_N, int(torch.cat([predicted_N, true_N]).max()) + 1)
    true_K, predicted_K, n = table_KK.sum(1), table_KK.sum(0), table_KK.sum()
    above = n * table_KK.trace() - true_K @ predicted_K
    below = (n**2 - true_K @ true_K) * (n**2 - predicted_K @ predicted_K)
    return float(above / below.sqrt()) if below > 0 else math.nan


def pearson(predicted_N: Tensor, true_N: Tensor) -> float:
    """Returns Pearson's correlation of two vectors of numbers. NaN where a side is constant or has fewer than two.

    Example:
        >>> round(pearson(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0, 6.0])), 6)
        1.0
    """
    _check(predicted_N, true_N)
    sides = [side.double() - side.double().mean() for side in (predicted_N, true_N)]
    if len(true_N) < 2 or any(bool((side == side[0]).all()) for side in (predicted_N, true_N)):
        return math.nan
    one, other = (side / side.norm() for side in sides)
    return float((one @ other).clamp(-1, 1))


def spearman(predicted_N: Tensor, true_N: Tensor) -> float:
    """Returns Spearman's correlation, that of Pearson of the ranks; tied values share the mean of their ranks.

    Example:
        >>> round(spearman(torch.tensor([1.0, 2.0, 9.0]), torch.tensor([2.0, 4.0, 5.0])), 6)
        1.0
    """
    _check(predicted_N, true_N)
    return pearson(ranks(predicted_N), ranks(true_N))


def rmse(predicted_N: Tensor, true_N: Tensor) -> float:
    """Returns the square root of the mean squared error. NaN without an example.

    Example:
        >>> rmse(torch.tensor([1.0, 2.0]), torch.tensor([4.0, 5.0]))
        3.0
    """
    _check(predicted_N, true_N)
    return float((predicted_N.double() - true_N.double()).square().mean().sqrt())


def ranks(values_N: Tensor) -> Tensor:
    """Returns the rank of each value from 1 (N, float64), the mean of their ranks for tied ones.

    Example:
        >>> ranks(torch.tensor([3.0, 1.0, 3.0])).tolist()
        [2.5, 1.0, 2.5]
    """
    ascending = values_N.sort().values
    below = torch.searchsorted(ascending, values_N)
    up_to = torch.searchsorted(ascending, values_N, right=True)
    return (below + up_to + 1).double() / 2


def _check(predicted_N: Tensor, true_N: Tensor) -> None:
    if predicted_N.ndim != 1 or predicted_N.shape != true_N.shape:
        got = f"{tuple(predicted_N.shape)} and {tuple(true_N.shape)}"
        raise ValueError(f"predicted and true: expected two vectors of one length, but got the shapes {got}")
