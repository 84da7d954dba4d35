"""The head `nearest` as a classifier of ASReview 3."""

from typing import TYPE_CHECKING, Any

from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from layersel.errors import UserError
from layersel.tasks.screening.heads.nearest import Nearest

if TYPE_CHECKING:
    import numpy as np


class NearestIncluded(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """The mean of the largest cosines to included records.

    There is no boundary between the classes: a query strategy of ASReview that looks for what is uncertain has nothing
    to look for, `max` and `max_random` have.

    Args:
        k: How many of the included records, the nearest ones, are compared with.
    """

    name = "layersel-nearest"

    def __init__(self, k: int = 3):
        self.k = k

    def fit(self, X: "np.ndarray", y: "np.ndarray", sample_weight: Any = None) -> "NearestIncluded":
        """Keeps the included records.

        Args:
            X: The vectors (N×D) of the labelled records.
            y: Their labels, 1 included and 0 excluded.
            sample_weight: The weights that a balancer gives; the head has no use for them.

        Raises:
            UserError: `k` is out of range, no record is included, or a vector is not finite.
        """
        import torch

        from layersel.tasks.screening.heads.examples import Examples, FittedHead

        head = Nearest(self.k)
        if head.problems():
            raise UserError("\n".join(head.problems()))
        labels_N = torch.tensor([int(label) for label in y])
        self.head_ = FittedHead.fit(head, Examples(torch.from_numpy(_dense(X)), labels_N, [""] * len(labels_N)))
        return self

    def decision_function(self, X: "np.ndarray") -> "np.ndarray":
        """Returns a score (N, float64) for each of the records with the vectors X (N×D), higher = likelier included."""
        check_is_fitted(self)
        import torch

        from layersel.tasks.screening.heads.pool import Pool

        return self.head_.scorer(Pool(torch.from_numpy(_dense(X)), [])).numpy()


def _dense(X: Any) -> "np.ndarray":
    if issparse(X):
        raise UserError(
            "classifier: layersel-nearest expected the vectors of an encoder, but got sparse features; use the feature "
            "extractor layersel, or another classifier"
        )
    return X  # type: ignore[no-any-return]
