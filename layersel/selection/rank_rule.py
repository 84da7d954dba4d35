"""From scores to a rank for each adapted module, under a budget of parameters."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from layersel.config import Choice
from layersel.errors import UserError
from layersel.selection.sharing import whole_ranks

if TYPE_CHECKING:
    from layersel.selection.selection import Selection


@dataclass
class RankRule(Choice):
    """A way to give each adapted module its rank."""

    allocates: ClassVar[bool] = True
    """This flag says whether modules may get other ranks than the adapter's own."""

    def allocate(self, selection: "Selection", rank: int, projections: Sequence[str] | None) -> "Selection":
        """Returns the selection with the ranks of its modules.

        Args:
            selection: The chosen layers, their scores and the widths of their modules.
            rank: The rank that every module would have without the rule.
            projections: Those that are adapted, as for `Selection.target_modules`.

        Raises:
            UserError: The scores or the budget give no ranks.
        """
        raise NotImplementedError

    def rank_problem(self, rank: int) -> str | None:
        """Returns the line on an adapter's rank that the rule can make no ranks of; None if it can."""
        return None

    def score_problem(self, score: str, measures: bool, chooses_none: bool) -> str | None:
        """Returns the line on a score that the rule can make no ranks of; None if it can.

        Args:
            score: The score's name.
            measures: Whether its values tell something of the layers.
            chooses_none: Whether no layer is chosen.
        """
        return None

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, as far as shows without a model."""
        return []


@dataclass(frozen=True)
class Group:
    """Modules that have a score, and so a rank, in common.

    Attributes:
        modules: Their full names.
        score: The score; higher = more important.
        cost: The parameters of each rank, the sum of the inputs and outputs of the modules.
        most: The largest rank that they can have, the smallest of their widths.
    """

    modules: list[str]
    score: float
    cost: int
    most: int


@dataclass
class ScoredRanks(RankRule):
    """Ranks by scores: one for all modules of a layer, or one for each module where the score has a number for each.

    Ranks need shares, and shares need numbers of at least 0. Where some scores are negative, as of a score that is
    turned so that higher means more important, the lowest one of the model is subtracted from all. A layer or module
    without a number, because it was excluded from the comparison, counts as 0, and so gets the smallest rank. If all
    are 0, they share alike.

    The parameters of the adapters' matrices, Σ r·(d_in + d_out), never exceed the budget, and what is left of it is
    less than the cheapest further rank, unless every module has its largest one.
    """

    r_min: int = 1
    """Smallest rank of a chosen layer's modules."""
    r_max: int | None = None
    """Largest rank; null = the smaller width of the module."""
    parameters: int | None = None
    """Budget, in parameters of A and B over all adapted modules; null = as many as with adapter.rank everywhere."""

    def weights(self, scores: Sequence[float], costs: Sequence[int]) -> list[float]:
        """Returns what ranks are in proportion to.

        Args:
            scores: From 0 to 1, the highest one of the model.
            costs: The parameters that each rank costs.
        """
        raise NotImplementedError

    def allocate(self, selection: "Selection", rank: int, projections: Sequence[str] | None) -> "Selection":
        """Returns the selection with the ranks of its modules."""
        from layersel.selection.selection import Allocation

        problem = self.score_problem(selection.score, selection.measured, not selection.layers)
        problem = self.rank_problem(rank) if problem is None else problem
        if problem is not None:
            raise UserError(problem)
        groups = self._groups(selection, projections)
        costs = [group.cost for group in groups]
        high = [group.most if self.r_max is None else min(self.r_max, group.most) for group in groups]
        budget = rank * sum(costs) if self.parameters is None else self.parameters
        self._check_least(groups, budget)
        weights = self.weights(self._scaled(selection, groups), costs)
        found = whole_ranks(weights, costs, [self.r_min] * len(groups), high, budget)
        ranks = {name: own for group, own in zip(groups, found, strict=True) for name in group.modules}
        return replace(selection, allocation=Allocation(self.name, rank, budget, dict(sorted(ranks.items()))))

    def rank_problem(self, rank: int) -> str | None:
        """Returns the line on a rank out of the bounds, between which its budget could not be shared out."""
        if self.parameters is not None or (self.r_min <= rank and (self.r_max is None or rank <= self.r_max)):
            return None
        bound = f"r_min={self.r_min}" if rank < self.r_min else f"r_max={self.r_max}"
        return (
            f"ranks.{bound}: expected r_min <= rank <= r_max, as the budget is that of the rank everywhere, but the "
            f"rank is {rank}; give ranks.parameters=…, or another bound"
        )

    def score_problem(self, score: str, measures: bool, chooses_none: bool) -> str | None:
        """Returns the line on a control, which only orders the layers, and on a choice of no layer."""
        if measures and not chooses_none:
            return None
        why = "chooses no layer" if chooses_none else "measures nothing that ranks could follow"
        return f"ranks={self.name}: selection={score} {why}; use another score, such as cka, or ranks=uniform"

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, bounds in the wrong order among them."""
        found = [] if self.r_min >= 1 else [f"ranks.r_min: expected at least 1, but got {self.r_min}"]
        if self.r_max is not None and self.r_max < self.r_min:
            found.append(f"ranks.r_max: expected at least r_min={self.r_min}, but got {self.r_max}")
        if self.parameters is not None and self.parameters < 1:
            found.append(f"ranks.parameters: expected at least 1, but got {self.parameters}")
        return found

    def _groups(self, selection: "Selection", projections: Sequence[str] | None) -> list[Group]:
        targets, scored = selection.targets(projections), selection.module_scores
        names = [name for modules in targets.values() for name in modules]
        if any(name not in selection.widths for name in names):
            raise UserError("ranks: this selection was made before ranks were known to it; score the layers anew")
        unscored = [name for name in names if scored and name not in scored]
        if unscored:
            raise UserError(
                f"ranks={self.name}: selection={selection.score} has no score of {unscored[0]}, which is adapted; let "
                "it look at the same projections, or use ranks=uniform"
            )
        named = [(modules, selection.scores[layer]) for layer, modules in targets.items()]
        if scored:
            named = [([name], scored[name]) for modules, _ in named for name in modules]
        return [
            Group(
                modules,
                score,
                cost=sum(sum(selection.widths[name]) for name in modules),
                most=min(min(selection.widths[name]) for name in modules),
            )
            for modules, score in named
        ]

    def _check_least(self, groups: Sequence[Group], budget: int) -> None:
        narrow = min(groups, key=lambda group: group.most)
        if self.r_min > narrow.most:
            raise UserError(
                f"ranks.r_min: expected at most {narrow.most}, the smaller width of {narrow.modules[0]}, but got "
                f"{self.r_min}"
            )
        least = self.r_min * sum(group.cost for group in groups)
        if budget < least:
            raise UserError(
                f"ranks.parameters: expected at least {least}, with which every module has rank {self.r_min}, but got "
                f"{budget}"
            )

    def _scaled(self, selection: "Selection", groups: Sequence[Group]) -> list[float]:
        """Returns the scores of the groups as shares of the highest: of at least 0, missing ones as 0."""
        known = [score for score in (selection.module_scores.values() or selection.scores) if not math.isnan(score)]
        if any(map(math.isinf, known)):
            raise UserError(
                f"ranks={self.name}: selection={selection.score} is infinite for some layers, so that there are no "
                "shares; use another score, or ranks=uniform"
            )
        lowest = min([0.0, *known])
        above = [0.0 if math.isnan(group.score) else group.score - lowest for group in groups]
        highest = max(above)
        return [own / highest if highest else 0.0 for own in above]
