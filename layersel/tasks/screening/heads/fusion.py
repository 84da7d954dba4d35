"""Several heads' rankings as one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from layersel.errors import one_of
from layersel.tasks.screening.heads.head import Head, Scorer
from layersel.tasks.screening.heads.named import head_named, head_names

if TYPE_CHECKING:
    from torch import Tensor

    from layersel.tasks.screening.heads.examples import Examples
    from layersel.tasks.screening.heads.pool import Pool

HOW = ("log_odds", "z_scores", "reciprocal_rank")


@dataclass
class Fusion(Head):
    """The sum of what several heads, its views, say of each record."""

    views: list[str] = field(default_factory=lambda: ["nearest", "tfidf_nearest"])
    """The heads, with the options that their files in conf/task/head give them."""
    by: str = "log_odds"
    """What of each view is added: log_odds of its ranks, z_scores, or reciprocal_rank (Cormack et al. 2009)."""

    @property
    def needs_excluded(self) -> bool:  # type: ignore[override]
        """Returns whether one of the views does."""
        return any(head.needs_excluded for head in self.components())

    @property
    def needs_protocol(self) -> bool:  # type: ignore[override]
        """Returns whether one of the views looks at it."""
        return any(head.needs_protocol for head in self.components())

    @property
    def min_included(self) -> int:  # type: ignore[override]
        """Returns how many included records the view that needs most of them needs."""
        return max(head.min_included for head in self.components())

    @property
    def compares_layers(self) -> bool:  # type: ignore[override]
        """Returns whether one of the views does."""
        return any(head.compares_layers for head in self.components())

    def fit(self, examples: "Examples") -> Scorer:
        """Fits every view."""
        heads = self.components()
        scorers = [head.fit(examples) for head in heads]

        def scores(pool: "Pool") -> "Tensor":
            import torch

            from layersel.tasks.screening.heads.fusing import COMPARABLE

            views_VN = COMPARABLE[self.by](torch.stack([own(pool) for own in scorers]))
            return self.weights(heads, examples, pool) @ views_VN

        return scores

    def weights(self, heads: Sequence[Head], examples: "Examples", pool: "Pool") -> "Tensor":
        """Returns by how much each view (V) counts for a pool: all alike."""
        import torch

        return torch.ones(len(heads), dtype=torch.float64)

    def components(self) -> list[Head]:
        """Returns the views, whose code computes the scores too."""
        return [head_named(view) for view in self.views]

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong."""
        found = [] if self.by in HOW else [str(one_of("task.head.by", self.by, HOW))]
        known = head_names(besides=Fusion)
        found += [str(one_of("task.head.views", view, known)) for view in self.views if view not in known]
        if not self.views or len(set(self.views)) < len(self.views):
            found.append(f"task.head.views: expected different heads, but got {self.views}")
        return found
