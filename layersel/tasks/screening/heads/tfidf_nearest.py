"""Similarity of TF-IDF features to those of the nearest included records, which needs no encoder."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.tasks.screening.heads.head import Head, Scorer

if TYPE_CHECKING:
    from torch import Tensor

    from layersel.tasks.screening.heads.examples import Examples
    from layersel.tasks.screening.heads.pool import Pool


@dataclass
class TfidfNearest(Head):
    """The mean of the largest cosines to included records."""

    k: int | None = None
    """How many of the included records, the nearest ones, are compared with; null = all of them."""

    needs_excluded: ClassVar[bool] = False

    def fit(self, examples: "Examples") -> Scorer:
        """Keeps the examples."""
        n_included = int(examples.labels_N.sum())
        k = n_included if self.k is None else min(self.k, n_included)

        def scores(pool: "Pool") -> "Tensor":
            import torch

            features_NF = pool.tfidf
            cosines_NK = torch.from_numpy((features_NF @ features_NF[pool.included_places(examples)].T).toarray())
            return cosines_NK.topk(k, dim=1).values.mean(dim=1)

        return scores

    def problems(self) -> list[str]:
        """Returns a line if k is out of range."""
        if self.k is None or self.k >= 1:
            return []
        return [f"task.head.k: expected at least 1, or null for all, but got {self.k}"]
