"""Intervals, signed ranks, Holm's correction and Pareto fronts against their definitions."""

from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, rankdata, t, ttest_1samp, ttest_ind

from layersel.sweep.comparing import unit_samples
from layersel.sweep.statistics import (
    deviation,
    holm,
    mean_interval,
    mean_of_means,
    pareto_front,
    signed_rank_p,
    wins_ties_losses,
)

P_VALUES = st.lists(st.floats(0, 1) | st.sampled_from([0.01, 0.02, 0.05]), max_size=7)
SIZES = st.integers(-9, 9).map(lambda size: size / 10)
ROWS = st.lists(st.tuples(*[st.sampled_from([0.0, 1.0, 2.0, float("nan")]) for _ in range(3)]), max_size=8)


def closed_testing(p: list[float]) -> list[float]:
    """What Holm's procedure is a shortcut of: the worst Bonferroni p of all sets of hypotheses with that one."""
    everything = range(len(p))
    sets = [subset for size in everything for subset in combinations(everything, size + 1)]
    return [max(min(1, len(own) * min(p[j] for j in own)) for own in sets if i in own) for i in everything]


def all_signs(differences: list[float]) -> float:
    """The share of all assignments of signs whose rank sum lies as far from its middle as the observed one."""
    present = [value for value in differences if value != 0]
    ranks = rankdata(np.abs(present))
    middle = ranks.sum() / 2
    sums = [
        sum(rank for rank, up in zip(ranks, ups, strict=True) if up) for ups in product([0, 1], repeat=len(present))
    ]
    observed = abs(sum(ranks[np.array(present) > 0]) - middle)
    return float(np.mean([abs(own - middle) >= observed - 1e-9 for own in sums]))


@settings(deadline=None, max_examples=60)
@given(P_VALUES)
def test_holm_is_the_closed_test_of_bonferroni(p: list[float]) -> None:
    """By definition, not by its own steps."""
    assert holm(p) == pytest.approx(closed_testing(p))


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # .005·4, .01·3, .03·2, max(.06, .04·1)
        ([0.5, 0.6], [1, 1]),
        ([0.04], [0.04]),
        ([], []),
        ([0.02, float("nan"), 0.02], [0.04, float("nan"), 0.04]),  # a test that was not made does not count
    ],
)
def test_holm_by_hand(p: list[float], expected: list[float]) -> None:
    """Worked on paper."""
    assert holm(p) == pytest.approx(expected, nan_ok=True)


@settings(deadline=None, max_examples=40)
@given(st.lists(SIZES, min_size=1, max_size=8))
def test_signed_ranks_are_exact_for_few_pairs(differences: list[float]) -> None:
    """With ties and zeros too: by counting all assignments of signs."""
    if any(differences):
        assert signed_rank_p(differences) == pytest.approx(all_signs(differences))
    else:
        assert np.isnan(signed_rank_p(differences))


def test_signed_ranks_ignore_rounding() -> None:
    """0.3 − 0.2 and 0.2 − 0.1 are the same difference, and 1e-13 is none."""
    assert signed_rank_p([0.3 - 0.2, 0.1 - 0.2, 0.5, 1e-13]) == signed_rank_p([0.1, -0.1, 0.5])
    assert signed_rank_p([0.1]) == 1
    assert np.isnan(signed_rank_p([]))
    assert np.isnan(signed_rank_p([0.0, 1e-13]))
    assert wins_ties_losses([0.1, 1e-12, -1e-12, 0.0, -0.1, -0.2]) == (1, 3, 2)
    assert wins_ties_losses([]) == (0, 0, 0)


@pytest.mark.parametrize("sizes", [[10], [10, 14]], ids=str)
def test_interval_is_that_of_resampled_means(sizes: list[int]) -> None:
    """Against a loop; each dataset's values are resampled among themselves, and the percentiles are Hesterberg's."""
    draw = np.random.default_rng(7)
    samples = [(place + 1) * draw.random(size) for place, size in enumerate(sizes)]
    means = [np.mean([np.mean(draw.choice(own, len(own))) for own in samples]) for _ in range(20000)]
    if len(samples) == 1:
        freedom = len(samples[0]) - 1
    else:
        freedom = ttest_ind(samples[0], np.negative(samples[1]), equal_var=False).df
    error = sum(np.var(own, ddof=1) / len(own) for own in samples) ** 0.5 / len(samples)
    tail = 100 * norm.cdf(-t.ppf(0.975, freedom) * error / np.std(means))
    low, high = mean_interval(samples, np.random.default_rng(0))
    assert (low, high) == pytest.approx(tuple(np.percentile(means, [tail, 100 - tail])), abs=0.01)
    assert low < mean_of_means(samples) < high
    assert mean_interval(samples, np.random.default_rng(0)) == (low, high)
    assert mean_interval(samples, np.random.default_rng(0), confidence=0.5)[0] > low


@pytest.mark.parametrize(
    "samples", [[[0.1, 0.4, 0.2]], [[0.1, 0.4, 0.2, 0.7] * 2], [[0.1, 0.5, 0.9], [0.2, 0.3, 0.7, 0.4]]]
)
def test_few_values_have_students_interval(samples: list[list[float]]) -> None:
    """The interval is that of scipy's t-test; of two samples half of Welch's for one and the negated other."""
    low, high = mean_interval(samples, np.random.default_rng(0))
    if len(samples) == 1:
        expected = ttest_1samp(samples[0], 0).confidence_interval()
        assert (low, high) == pytest.approx((expected.low, expected.high))
    else:
        expected = ttest_ind(samples[0], np.negative(samples[1]), equal_var=False).confidence_interval()
        assert (2 * low, 2 * high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("sizes", [[3], [5], [8], [10], [12], [3, 3], [5, 5], [10, 30]], ids=str)
def test_intervals_hold_the_mean_as_often_as_they_say(sizes: list[int]) -> None:
    """The interval holds it in 95 % of 300 normal draws, but for chance (3 deviations: 3.8 %) and few resamples.

    Also where the dataset with few seeds varies most.
    """
    draw = np.random.default_rng(3)
    intervals = [mean_interval([draw.normal(scale=60 / size, size=size) for size in sizes], draw) for _ in range(300)]
    assert 0.91 <= np.mean([low <= 0 <= high for low, high in intervals]) <= 0.99


@pytest.mark.parametrize("datasets", [3, 5])
def test_intervals_over_datasets_hold_the_mean_of_all_datasets(datasets: int) -> None:
    """Where the 3 seeds of a dataset share its deviation, as large as theirs."""
    draw, index = np.random.default_rng(3), pd.MultiIndex.from_product([range(datasets), range(3)])
    found = []
    for _ in range(300):
        values = np.repeat(draw.normal(size=datasets), 3) + draw.normal(size=3 * datasets)
        found.append(mean_interval(unit_samples(pd.Series(values, index.set_names(["dataset", "seed"])))[0], draw))
    assert 0.91 <= np.mean([low <= 0 <= high for low, high in found]) <= 0.99


@pytest.mark.parametrize("samples", [[], [[0.4]], [[0.4, 0.5]], [[0.4, 0.5, 0.6], [0.2, 0.3]]])
def test_no_interval_of_fewer_than_three_values(samples: list[list[float]]) -> None:
    """Their resampled means are the values themselves, also where another dataset has more."""
    assert np.isnan(mean_interval(samples, np.random.default_rng(0))).all()
    assert np.isnan(deviation(samples)) == (min(map(len, samples), default=0) < 2)


def test_equal_values_are_their_own_interval() -> None:
    """In each dataset."""
    assert mean_interval([[0.3] * 3], np.random.default_rng(0)) == pytest.approx((0.3, 0.3), rel=1e-15)
    assert mean_interval([[0.3] * 3, [0.5] * 4], np.random.default_rng(0)) == pytest.approx((0.4, 0.4), rel=1e-15)


def test_means_and_deviations_by_hand() -> None:
    """Datasets weigh the same however many seeds they have; deviations of independent datasets add as variances."""
    assert mean_of_means([[1, 3], [10, 12, 14]]) == 7
    assert deviation([[1, 3], [10, 12, 14]]) == pytest.approx((2 + 4) ** 0.5 / 2)
    assert deviation([[0.4] * 3]) == 0  # their rounded mean is not .4
    assert deviation([[1, 3, 8]]) == pytest.approx(np.std([1, 3, 8], ddof=1))
    assert np.isnan(mean_of_means([]))
    assert np.isnan(mean_of_means([[1], []]))


@settings(deadline=None)
@given(ROWS, st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_front_is_what_nothing_beats(rows: list[tuple[float, ...]], highest: tuple[bool, ...]) -> None:
    """Against all pairs, with ties and gaps."""

    def beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
        gains = [(a - b) if high else (b - a) for a, b, high in zip(one, other, highest, strict=True)]
        return all(gain >= 0 for gain in gains) and any(gain > 0 for gain in gains)

    whole = [row for row in rows if not np.isnan(row).any()]
    expected = [row in whole and not any(beats(other, row) for other in whole) for row in rows]
    assert pareto_front(rows, highest).tolist() == expected
