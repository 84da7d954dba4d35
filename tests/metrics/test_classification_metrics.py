"""The metrics of classes and numbers against scikit-learn and SciPy."""

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from layersel.metrics.classification import (
    accuracy,
    confusion,
    f1,
    macro_f1,
    matthews,
    pearson,
    ranks,
    rmse,
    spearman,
)

classes_strategy = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30)
numbers_strategy = st.lists(st.tuples(st.integers(-5, 5), st.integers(-5, 5)), min_size=3, max_size=30)


def sides(pairs: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """Predicted and true values."""
    predicted, true = torch.tensor(pairs).T
    return predicted, true


@settings(deadline=None)
@given(classes_strategy)
def test_classes_are_measured_as_by_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    """Every metric of classes equals scikit-learn's wherever it is defined."""
    predicted, true = sides(pairs)
    assert accuracy(predicted, true) == pytest.approx(sklearn.metrics.accuracy_score(true, predicted))
    table = sklearn.metrics.confusion_matrix(true, predicted, labels=range(4))
    assert np.array_equal(confusion(predicted, true, 4).numpy(), table)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = sklearn.metrics.matthews_corrcoef(true, predicted)
        one = sklearn.metrics.f1_score(true, predicted, labels=[1], average=None, zero_division=np.nan)[0]
        macro = sklearn.metrics.f1_score(true, predicted, average="macro")
    several = len(set(true.tolist())) > 1
    if several and len(set(predicted.tolist())) > 1:
        assert matthews(predicted, true) == pytest.approx(expected)
    else:
        assert math.isnan(matthews(predicted, true))
    if several:
        assert f1(predicted, true) == pytest.approx(one, nan_ok=True)
        assert macro_f1(predicted, true) == pytest.approx(macro)


@settings(deadline=None)
@given(numbers_strategy)
def test_numbers_are_measured_as_by_scipy(pairs: list[tuple[int, int]]) -> None:
    """Correlations, ties included, and the error equal SciPy's and scikit-learn's."""
    predicted, true = (side.double() for side in sides(pairs))
    assert rmse(predicted, true) == pytest.approx(sklearn.metrics.root_mean_squared_error(true, predicted))
    assert ranks(predicted).tolist() == scipy.stats.rankdata(predicted).tolist()
    if min(len(set(side.tolist())) for side in (predicted, true)) > 1:
        assert pearson(predicted, true) == pytest.approx(scipy.stats.pearsonr(predicted, true)[0])
        assert spearman(predicted, true) == pytest.approx(scipy.stats.spearmanr(predicted, true)[0])
    else:
        assert math.isnan(pearson(predicted, true))
        assert math.isnan(spearman(predicted, true))


@pytest.mark.parametrize("metric", [f1, macro_f1, matthews])
def test_one_class_in_the_test_set(metric: Callable[[Tensor, Tensor], float]) -> None:
    """What compares classes is undefined there, however good the predictions are."""
    assert math.isnan(metric(torch.tensor([1, 1, 0]), torch.tensor([1, 1, 1])))
    assert math.isnan(metric(torch.tensor([1, 1, 1]), torch.tensor([1, 1, 1])))


@pytest.mark.parametrize("metric", [accuracy, f1, macro_f1, matthews, pearson, spearman, rmse])
def test_no_example_and_two_lengths(metric: Callable[[Tensor, Tensor], float]) -> None:
    """Nothing to measure gives NaN; vectors of two lengths are an error."""
    assert math.isnan(metric(torch.tensor([]), torch.tensor([])))
    with pytest.raises(ValueError, match="two vectors of one length"):
        metric(torch.tensor([1]), torch.tensor([1, 0]))


def test_a_constant_with_a_mean_that_rounds() -> None:
    """A constant side has no correlation, also where its mean is not exactly the constant."""
    constant = torch.full((7,), 0.1, dtype=torch.float64)
    assert math.isnan(pearson(constant, torch.arange(7.0)))
