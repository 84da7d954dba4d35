"""Logistic regression on the vectors."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.tasks.screening.heads.head import Head, Scorer, not_above_zero

if TYPE_CHECKING:
    from torch import Tensor

    from layersel.tasks.screening.heads.examples import Examples
    from layersel.tasks.screening.heads.pool import Pool


@dataclass
class Logistic(Head):
    """score = w·x + b, the log-odds that a record is included."""

    c: float = 1.0
    """Inverse strength of the L2 penalty."""
    balanced: bool = False
    """Both classes weigh the same, however many examples of each there are."""
    normalize: bool = True
    """Scale vectors to length 1."""

    gives_log_odds: ClassVar[bool] = True

    def fit(self, examples: "Examples") -> Scorer:
        """Fits in float64; the scores are differentiable in the vectors."""
        import torch
        from sklearn.linear_model import LogisticRegression

        weights = "balanced" if self.balanced else None
        model = LogisticRegression(C=self.c, class_weight=weights, max_iter=10_000, tol=1e-8)
        model.fit(self._features(examples.vectors_ND).numpy(), examples.labels_N.numpy())
        weight_D, bias = torch.from_numpy(model.coef_[0].copy()), torch.from_numpy(model.intercept_.copy())[0]

        def scores(pool: "Pool") -> "Tensor":
            return self._features(pool.vectors_ND) @ weight_D + bias

        return scores

    def problems(self) -> list[str]:
        """Returns a line if c is out of range."""
        return not_above_zero("c", self.c)

    def _features(self, vectors_ND: "Tensor") -> "Tensor":
        import torch

        doubled_ND = vectors_ND.double()
        return torch.nn.functional.normalize(doubled_ND, dim=1) if self.normalize else doubled_ND
