"""Similarity to the centroid of the included records, away from that of the excluded ones.

Source: Rocchio (1971), Relevance feedback in information retrieval.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.tasks.screening.heads.head import Head, Scorer

if TYPE_CHECKING:
    from torch import Tensor

    from layersel.tasks.screening.heads.examples import Examples
    from layersel.tasks.screening.heads.pool import Pool


@dataclass
class Prototype(Head):
    """The cosine to centroid⁺ − γ·centroid⁻, the means of the examples' vectors at length 1."""

    gamma: float = 0.0
    """The weight of the excluded records; with 0 none is needed."""

    @property
    def needs_excluded(self) -> bool:  # type: ignore[override]
        """Returns whether the excluded records have any weight."""
        return self.gamma != 0

    def fit(self, examples: "Examples") -> Scorer:
        """Computes the direction in float64."""
        from torch.nn.functional import normalize

        direction_D = normalize(examples.included(), dim=1).mean(dim=0)
        if self.gamma != 0:
            direction_D = direction_D - self.gamma * normalize(examples.excluded(), dim=1).mean(dim=0)

        def scores(pool: "Pool") -> "Tensor":
            return pool.units @ normalize(direction_D, dim=0)

        return scores

    def problems(self) -> list[str]:
        """Returns a line if γ is out of range."""
        if math.isfinite(self.gamma) and self.gamma >= 0:
            return []
        return [f"task.head.gamma: expected 0 or more, but got {self.gamma}"]
