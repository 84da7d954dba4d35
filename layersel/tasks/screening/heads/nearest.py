"""Similarity to the nearest included records."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.tasks.screening.heads.head import Head, Scorer

if TYPE_CHECKING:
    from torch import Tensor

    from layersel.tasks.screening.heads.examples import Examples
    from layersel.tasks.screening.heads.pool import Pool


@dataclass
class Nearest(Head):
    """The mean of the largest cosines to included records; what is excluded says little about what else there is."""

    k: int = 3
    """How many of the included records, the nearest ones, are compared with."""

    needs_excluded: ClassVar[bool] = False

    @property
    def min_included(self) -> int:  # type: ignore[override]
        """Returns how many included records it takes that there be more than one to compare with, if k wants that."""
        return min(self.k, 2)

    def fit(self, examples: "Examples") -> Scorer:
        """Keeps the included records; of fewer than `k`, all are compared with."""
        from torch.nn.functional import normalize

        included_KD = normalize(examples.included(), dim=1)
        k = min(self.k, len(included_KD))

        def scores(pool: "Pool") -> "Tensor":
            return (pool.units @ included_KD.T).topk(k, dim=1).values.mean(dim=1)

        return scores

    def problems(self) -> list[str]:
        """Returns a line if k is out of range."""
        return [] if self.k >= 1 else [f"task.head.k: expected at least 1, but got {self.k}"]
