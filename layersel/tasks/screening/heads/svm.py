"""A linear support vector machine on the vectors, weighted as ASReview's ELAS u4 is."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.tasks.screening.heads.head import Head, Scorer, not_above_zero

if TYPE_CHECKING:
    from torch import Tensor

    from layersel.tasks.screening.heads.examples import Examples
    from layersel.tasks.screening.heads.pool import Pool


@dataclass
class Svm(Head):
    """score = w·x + b of a linear SVM with squared hinge loss; x has length 1."""

    c: float = 0.1
    """Inverse strength of the L2 penalty."""
    ratio: float = 9.8
    """How many times the total weight of the excluded examples the included ones carry together."""

    def fit(self, examples: "Examples") -> Scorer:
        """Fits in float64."""
        import torch
        from torch.nn.functional import normalize

        from layersel.tasks.screening.heads.weighted_svm import weighted_svm

        model = weighted_svm(
            normalize(examples.vectors_ND.double(), dim=1).numpy(), examples.labels_N, self.c, self.ratio
        )
        weight_D, bias = torch.from_numpy(model.coef_[0].copy()), float(model.intercept_[0])

        def scores(pool: "Pool") -> "Tensor":
            return pool.units @ weight_D + bias

        return scores

    def problems(self) -> list[str]:
        """Returns a line for each option that is out of range."""
        return not_above_zero("c", self.c) + not_above_zero("ratio", self.ratio)
