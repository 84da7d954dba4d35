"""The numbers of a comparison: intervals, signed ranks, correction for many tests, Pareto fronts."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

# Shapes: N values, K criteria.

TIE = 1e-12
"""Differences up to this size count as none."""
RESAMPLES = 9999
FEWEST = 3
"""Fewest values of a sample for an interval: that of two, by Student's t, is 13 standard errors wide to either side."""
FEWEST_RESAMPLED = 10
"""Fewest values of a sample for the bootstrap, whose percentiles end too far within where there are fewer."""

Floats = NDArray[np.float64]
Sample = Floats | Sequence[float]


def mean_of_means(samples: Sequence[Sample]) -> float:
    """Returns the mean over samples (a dataset each) of their means; NaN where one has no value, or there is none."""
    if not samples or min(map(len, samples)) == 0:
        return float("nan")
    return float(np.mean([np.mean(sample) for sample in samples]))


def deviation(samples: Sequence[Sample]) -> float:
    """Returns the standard deviation of `mean_of_means` where each sample is one value: √Σs² / number of samples.

    Of one sample it is the plain standard deviation (ddof=1). NaN where a sample has fewer than two values.
    """
    if not samples or min(map(len, samples)) < 2:
        return float("nan")
    variances = [0.0 if np.ptp(sample) <= TIE else float(np.var(sample, ddof=1)) for sample in samples]
    return math.sqrt(sum(variances)) / len(samples)


def mean_interval(
    samples: Sequence[Sample], generator: np.random.Generator, confidence: float = 0.95
) -> tuple[float, float]:
    """Returns the interval of `mean_of_means`: by the bootstrap, or by Student's t where a sample has 3 to 9 values.

    The bootstrap resamples each sample on its own and takes expanded percentiles. The plain ones are too narrow for few
    values, as resamples vary less than samples do and know no t-distribution: of 10 values they hold the mean in 90 %
    of the cases instead of 95 %. BCa estimates its corrections from the same few values, and has none where they agree.
    Of 3 values even the widest percentiles, the least and the greatest, hold the mean in 75 % of the cases, and
    expanded ones of 5 to 7 in 92 %: below `FEWEST_RESAMPLED` the interval is the mean ± t standard errors. It is exact
    for one sample of a normal distribution, wide, and may pass the ends of the metric's range. The degrees of freedom
    are Welch's where the samples are several. Of fewer than `FEWEST` values there is no interval.

    Args:
        samples: The values of one dataset each.
        generator: Draws the resamples.
        confidence: The share of such intervals that hold the mean.

    Returns:
        The ends of the interval; NaN where a sample has fewer than `FEWEST` values, the mean where each has equal ones.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 and 13; expanded percentiles:
    Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician 69 (2015), section 3.3; degrees
    of freedom: Welch, The generalization of Student's problem, Biometrika 34 (1947), equation 28.
    """
    fewest = min(map(len, samples), default=0)
    if fewest < FEWEST:
        return float("nan"), float("nan")
    middle, sizes = mean_of_means(samples), np.array([len(sample) for sample in samples])
    squares = np.array([np.var(sample, ddof=1) for sample in samples]) / sizes  # standard errors, squared
    if not squares.any():
        return middle, middle
    freedom = squares.sum() ** 2 / (squares**2 / (sizes - 1)).sum()
    errors = float(stats.t.ppf((1 + confidence) / 2, freedom))
    if fewest < FEWEST_RESAMPLED:
        half = errors * math.sqrt(squares.sum()) / len(samples)
        return middle - half, middle + half
    # resamples vary less than samples: by √((n−1)/n), if there is one
    expanded = errors * math.sqrt(squares.sum() / (squares * (sizes - 1) / sizes).sum())

    def statistic(*resamples: Floats, axis: int) -> Floats:
        return np.asarray(np.mean([np.mean(resample, axis=axis) for resample in resamples], axis=0))

    interval = stats.bootstrap(
        samples,
        statistic,
        n_resamples=RESAMPLES,
        batch=RESAMPLES // 9,
        vectorized=True,
        confidence_level=float(1 - 2 * stats.norm.sf(expanded)),
        method="percentile",
        rng=generator,
    ).confidence_interval
    return float(interval.low), float(interval.high)


def wins_ties_losses(differences_N: ArrayLike) -> tuple[int, int, int]:
    """Counts the differences above, at and below zero.

    Example:
        >>> wins_ties_losses([0.1, 0.0, 1e-13, -0.2, 0.3])
        (2, 2, 1)
    """
    differences = np.asarray(differences_N, dtype=float)
    wins, losses = int((differences > TIE).sum()), int((differences < -TIE).sum())
    return wins, len(differences) - wins - losses, losses


def signed_rank_p(differences_N: ArrayLike) -> float:
    """Returns the two-sided p of Wilcoxon's signed-rank test, without the differences that are zero, as in Wilcoxon's.

    It is exact for up to 50 differences of different sizes, and for up to 13 others.

    Returns:
        p, or NaN where every difference is zero or there is none.

    Example:
        >>> signed_rank_p([0.1, 0.2, 0.3, 0.4, 0.5])  # 2 of the 2⁵ signs are as extreme
        0.0625
    """
    differences = np.asarray(differences_N, dtype=float)
    differences = np.round(differences[np.abs(differences) > TIE], 12)  # equal sizes share a rank despite rounding
    return float(stats.wilcoxon(differences).pvalue) if len(differences) else float("nan")


def holm(p_N: ArrayLike) -> Floats:
    """Corrects p by Holm's step-down procedure: the chance of any false finding among N tests stays below the result.

    NaN is a test that was not made: it stays NaN and does not count.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979).

    Example:
        >>> holm([0.01, 0.04, 0.03]).round(6).tolist()
        [0.03, 0.06, 0.06]
    """
    corrected = np.array(p_N, dtype=float)
    made = np.flatnonzero(~np.isnan(corrected))
    ascending = made[np.argsort(corrected[made], kind="stable")]
    remaining = np.arange(len(ascending), 0, -1)
    corrected[ascending] = np.minimum(np.maximum.accumulate(remaining * corrected[ascending]), 1)
    return corrected


def pareto_front(values_NK: ArrayLike, highest: Sequence[bool]) -> NDArray[np.bool_]:
    """Returns which rows no other row beats: none is as good in every criterion and better in one.

    Args:
        values_NK: A row for each candidate; one with a NaN is never on the front and beats none.
        highest: For each criterion whether high values are good.

    Returns:
        A mask of N; equal rows are all on the front, or none.

    Example:
        >>> pareto_front([[0.6, 100], [0.5, 10], [0.4, 50]], highest=[True, False]).tolist()
        [True, True, False]
    """
    values = np.asarray(values_NK, dtype=float).reshape(-1, len(highest)) * np.where(highest, 1.0, -1.0)
    beaten = [bool(((values >= row).all(axis=1) & (values > row).any(axis=1)).any()) for row in values]
    return np.asarray(~np.isnan(values).any(axis=1) & ~np.array(beaten, dtype=bool))
