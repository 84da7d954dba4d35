"""The adapter's own rank everywhere."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from layersel.selection.rank_rule import RankRule

if TYPE_CHECKING:
    from layersel.selection.selection import Selection


@dataclass
class Uniform(RankRule):
    """Every adapted module has the rank that the adapter says."""

    allocates: ClassVar[bool] = False

    def allocate(self, selection: "Selection", rank: int, projections: Sequence[str] | None) -> "Selection":
        """Returns the selection without ranks of its own."""
        return replace(selection, allocation=None)
