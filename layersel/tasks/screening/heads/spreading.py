"""Label spreading over a graph of each record's nearest neighbours.

Source: Zhou et al. 2003, Learning with local and global consistency; only included records are marked.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from layersel.errors import one_of
from layersel.tasks.screening.heads.head import Head, Scorer

if TYPE_CHECKING:
    from torch import Tensor

    from layersel.tasks.screening.heads.examples import Examples
    from layersel.tasks.screening.heads.pool import Pool

VECTORS, TFIDF = "vectors", "tfidf"
VIEWS = (VECTORS, TFIDF)


@dataclass
class Spreading(Head):
    """How much of the included records' mark reaches a record, from neighbour to neighbour through the whole pool."""

    neighbours: int = 50
    """How many neighbours each record has; whoever is a neighbour of one has it as a neighbour too."""
    alpha: float = 0.8
    """The share of what a record holds that comes from its neighbours, in each of 20 rounds."""
    views: list[str] = field(default_factory=lambda: list(VIEWS))
    """What neighbours are alike in: vectors, tfidf, or both."""

    needs_excluded: ClassVar[bool] = False

    def fit(self, examples: "Examples") -> Scorer:
        """Keeps the examples: the graph is that of the pool."""

        def scores(pool: "Pool") -> "Tensor":
            import torch

            from layersel.tasks.screening.heads.graph import spread

            marked = pool.included_places(examples)
            return torch.from_numpy(spread(pool.graph(self.views, self.neighbours), marked, self.alpha))

        return scores

    def problems(self) -> list[str]:
        """Returns one line for each option that is out of range."""
        found = []
        if self.neighbours < 1:
            found.append(f"task.head.neighbours: expected at least 1, but got {self.neighbours}")
        if not 0 < self.alpha < 1:
            found.append(f"task.head.alpha: expected a number between 0 and 1, but got {self.alpha}")
        found += [str(one_of("task.head.views", view, VIEWS)) for view in self.views if view not in VIEWS]
        if not self.views or len(set(self.views)) < len(self.views):
            found.append(f"task.head.views: expected one or two different views, but got {self.views}")
        return found
