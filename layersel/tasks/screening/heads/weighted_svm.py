"""The classifier of ASReview's ELAS u4, on any features."""

from typing import Any

from sklearn.svm import LinearSVC
from torch import Tensor


def weighted_svm(features_NF: Any, labels_N: Tensor, c: float, ratio: float) -> LinearSVC:
    """Fits a linear SVM in which the included records carry `ratio` times the total weight of the excluded ones.

    An included record weighs 1, an excluded one n₁/(ratio·n₀), all rescaled to a mean of 1 (`Balanced` of asreview
    3.0.8, `models/balancers.py`); the loss is the squared hinge.

    Args:
        features_NF: Features of the labelled records, dense or sparse.
        labels_N: Their labels, 1 included and 0 excluded; both must be there.
        c: Inverse strength of the penalty.
        ratio: Of the classes' total weights.
    """
    n_included = int(labels_N.sum())
    n_excluded = len(labels_N) - n_included
    weights = [1.0 if label == 1 else n_included / (ratio * n_excluded) for label in labels_N.tolist()]
    scale = len(weights) / sum(weights)
    model = LinearSVC(loss="squared_hinge", C=c, random_state=0)
    return model.fit(features_NF, labels_N.numpy(), sample_weight=[weight * scale for weight in weights])
