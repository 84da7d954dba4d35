"""Several heads' rankings as one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from layersel.config import CONF, build_group, choice
from layersel.errors import one_of
from layersel.tasks.screening.heads.head import Head, Scorer

if TYPE_CHECKING:
    from torch import Tensor

    from layersel.tasks.screening.heads.examples import Examples

# Shapes: V views, N records.

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
        return any(head.needs_excluded for head in self._heads())

    def fit(self, examples: "Examples") -> Scorer:
        """Fits every view."""
        scorers = [head.fit(examples) for head in self._heads()]

        def scores(vectors_ND: "Tensor", texts: Sequence[str]) -> "Tensor":
            import torch

            from layersel.tasks.screening.heads.fusing import FUSED

            return FUSED[self.by](torch.stack([own(vectors_ND, texts) for own in scorers]))

        return scores

    def components(self) -> list[Any]:
        """Returns the views, whose code computes the scores too."""
        return self._heads()

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong."""
        found = [] if self.by in HOW else [str(one_of("task.head.by", self.by, HOW))]
        known = sorted(file.stem for file in (CONF / "task" / "head").glob("*.yaml") if file.stem != "fusion")
        found += [str(one_of("task.head.views", view, known)) for view in self.views if view not in known]
        if not self.views or len(set(self.views)) < len(self.views):
            found.append(f"task.head.views: expected different heads, but got {self.views}")
        return found

    def _heads(self) -> list[Head]:
        return [build_group("task.head", choice("task/head", view)) for view in self.views]
