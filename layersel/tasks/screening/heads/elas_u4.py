"""ELAS u4, the default ranking of ASReview 3, which needs no encoder."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.tasks.screening.heads.head import Head, Scorer

if TYPE_CHECKING:
    from torch import Tensor

    from layersel.tasks.screening.heads.examples import Examples


@dataclass
class ElasU4(Head):
    """A weighted linear SVM on TF-IDF features; all its settings are ASReview's, so there is no option."""

    def fit(self, examples: "Examples") -> Scorer:
        """Keeps the examples: it is fitted on the features of the pool that is ranked."""

        def scores(vectors_ND: "Tensor", texts: Sequence[str]) -> "Tensor":
            import torch

            from layersel.tasks.screening.heads.tfidf import tfidf_features
            from layersel.tasks.screening.heads.weighted_svm import weighted_svm

            known_KF, pool_NF = tfidf_features(examples.texts, texts)
            return torch.from_numpy(weighted_svm(known_KF, examples.labels_N, 0.11, 9.8).decision_function(pool_NF))

        return scores
