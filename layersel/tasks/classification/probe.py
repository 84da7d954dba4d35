"""The linear probe: scikit-learn's logistic or ridge regression on vectors, its penalty chosen by cross-validation."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import KFold, StratifiedKFold, cross_val_score
from threadpoolctl import threadpool_limits
from torch import Tensor

from layersel.tasks.classification.head import LinearHead, standard

# Shapes: N examples, D width of a vector, K classes.

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)
"""The inverse strengths of the L2 penalty that are tried."""
RIDGE = tuple(10.0**power for power in range(-2, 6))
"""The strengths of the ridge's penalty that are tried."""
FOLDS = 5
ABSENT = 30.0
"""How far below the others the log-odds of a class lie of which there is no example."""


def fit_probe(
    vectors_ND: Tensor, targets_N: Tensor, classes: Sequence[str], balanced: bool, c: float | None = None
) -> LinearHead:
    """Fits the head on standardised vectors, in float64.

    Args:
        vectors_ND: The vectors of the examples.
        targets_N: The index of their class, or their number.
        classes: The names of the classes; none for numbers.
        balanced: Whether each class weighs the same.
        c: The inverse strength of the penalty; None chooses the one with the least held-out loss.
    """
    mean_D, scale_D = (own.double().cpu() for own in standard(vectors_ND.double()))
    inputs_ND = ((vectors_ND.double().cpu() - mean_D) / scale_D).numpy()
    targets = targets_N.double().cpu().numpy()
    with threadpool_limits(torch.get_num_threads()):  # else BLAS takes all cores, whatever trainer.threads says
        if classes:
            weight_KD, bias_K = _logistic(inputs_ND, targets.astype(int), len(classes), balanced, c)
        else:
            ridge = RidgeCV(alphas=RIDGE if c is None else [1 / c]).fit(inputs_ND, targets)
            weight_KD, bias_K = ridge.coef_[None], np.array([ridge.intercept_])
    weight = torch.from_numpy(weight_KD) / scale_D
    return LinearHead(weight, torch.from_numpy(bias_K) - weight @ mean_D, tuple(classes))


def folds(targets_N: Tensor, classes: Sequence[str]) -> list[tuple[Any, Any]]:
    """Returns pairs of places to fit on and to measure on, of each class its part; none if there are too few of one."""
    targets = targets_N.double().cpu().numpy()
    if not classes:
        return list(KFold(min(FOLDS, len(targets))).split(targets)) if len(targets) > 1 else []
    smallest = int(np.unique(targets, return_counts=True)[1].min())
    if smallest < 2:
        return []
    return list(StratifiedKFold(min(FOLDS, smallest)).split(targets, targets))


def _logistic(inputs: Any, targets: Any, n_classes: int, balanced: bool, c: float | None) -> tuple[Any, Any]:
    weights = "balanced" if balanced else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        if c is None:
            c = _best_strength(inputs, targets, weights)
        model = LogisticRegression(C=c, class_weight=weights, max_iter=1000).fit(inputs, targets)
    coefficients, intercepts = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # scikit-learn keeps one row then
        coefficients, intercepts = (np.concatenate([-own, own]) / 2 for own in (coefficients, intercepts))
    weight = np.zeros((n_classes, inputs.shape[1]))
    bias = np.full(n_classes, intercepts.min() - ABSENT)
    weight[model.classes_], bias[model.classes_] = coefficients, intercepts
    return weight, bias


def _best_strength(inputs: Any, targets: Any, weights: str | None) -> float:
    parts = folds(torch.from_numpy(targets), ["classes"])
    if not parts:
        return 1.0

    def loss(c: float) -> float:
        model = LogisticRegression(C=c, class_weight=weights, max_iter=1000)
        return -float(cross_val_score(model, inputs, targets, cv=parts, scoring="neg_log_loss").mean())

    return min(STRENGTHS, key=loss)
