"""Several heads' rankings as one."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from layersel.config import CONF, TARGET, build_group, choice
from layersel.errors import one_of
from layersel.tasks.screening.heads.head import Head, Scorer

if TYPE_CHECKING:
    from torch import Tensor

    from layersel.tasks.screening.heads.examples import Examples
    from layersel.tasks.screening.heads.pool import Pool

HOW = ("log_odds", "z_scores", "reciprocal_rank")
EQUAL, LEAVE_ONE_OUT = "equal", "leave_one_out"
WEIGHTS = (EQUAL, LEAVE_ONE_OUT)


@dataclass
class Fusion(Head):
    """The weighted sum of what several heads, its views, say of each record."""

    views: list[str] = field(default_factory=lambda: ["nearest", "tfidf_nearest"])
    """The heads, with the options that their files in conf/task/head give them."""
    by: str = "log_odds"
    """What of each view is added: log_odds of its ranks, z_scores, or reciprocal_rank (Cormack et al. 2009)."""
    weights: str = EQUAL
    """equal, or leave_one_out: views that rank each included record high when it is left out weigh more."""

    @property
    def needs_excluded(self) -> bool:  # type: ignore[override]
        """Returns whether one of the views does."""
        return any(head.needs_excluded for head in self._heads())

    def fit(self, examples: "Examples") -> Scorer:
        """Fits every view; by how much each counts is found on the pool."""
        heads = self._heads()
        scorers = [head.fit(examples) for head in heads]

        def scores(pool: "Pool") -> "Tensor":
            import torch

            from layersel.tasks.screening.heads.fusing import COMPARABLE, left_out_weights

            views_VN = COMPARABLE[self.by](torch.stack([own(pool) for own in scorers]))
            if self.weights == EQUAL:
                return views_VN.sum(dim=0)
            return left_out_weights(heads, examples, pool) @ views_VN

        return scores

    def components(self) -> list[Any]:
        """Returns the views, whose code computes the scores too."""
        return self._heads()

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong."""
        found = [] if self.by in HOW else [str(one_of("task.head.by", self.by, HOW))]
        found += [] if self.weights in WEIGHTS else [str(one_of("task.head.weights", self.weights, WEIGHTS))]
        names = sorted(file.stem for file in (CONF / "task" / "head").glob("*.yaml"))
        known = [name for name in names if not choice("task/head", name)[TARGET].endswith(".Fusion")]
        found += [str(one_of("task.head.views", view, known)) for view in self.views if view not in known]
        if not self.views or len(set(self.views)) < len(self.views):
            found.append(f"task.head.views: expected different heads, but got {self.views}")
        return found

    def _heads(self) -> list[Head]:
        return [build_group("task.head", choice("task/head", view)) for view in self.views]
