"""ELAS u4, the default ranking of ASReview 3, which needs no encoder."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.tasks.screening.heads.head import Head, Scorer

if TYPE_CHECKING:
    from torch import Tensor

    from layersel.tasks.screening.heads.examples import Examples
    from layersel.tasks.screening.heads.pool import Pool


@dataclass
class ElasU4(Head):
    """A weighted linear SVM on TF-IDF features; all its settings are ASReview's, so there is no option."""

    def fit(self, examples: "Examples") -> Scorer:
        """Keeps the examples: it is fitted on the features of the pool that is ranked."""

        def scores(pool: "Pool") -> "Tensor":
            import torch

            from layersel.tasks.screening.heads.weighted_svm import weighted_svm

            features_NF = pool.tfidf
            model = weighted_svm(features_NF[pool.places(examples)], examples.labels_N, 0.11, 9.8)
            return torch.from_numpy(model.decision_function(features_NF))

        return scores
