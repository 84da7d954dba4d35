"""Measures whether two series of numbers have the same order."""

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


def kendall(one_N: ArrayLike, other_N: ArrayLike) -> float:
    """Computes Kendall's τ_b over the places at which both have a value.

    Returns:
        −1 to 1; NaN where fewer than two places are left, or all values of one side are equal.

    Example:
        >>> round(kendall([1, 2, 3, float("nan")], [10, 30, 20, 0]), 3)
        0.333
    """
    one, other = np.asarray(one_N, dtype=float), np.asarray(other_N, dtype=float)
    both = ~(np.isnan(one) | np.isnan(other))
    return float(stats.kendalltau(one[both], other[both]).statistic) if both.sum() > 1 else float("nan")
