"""Ranks in proportion to the scores."""

from collections.abc import Sequence
from dataclasses import dataclass

from layersel.selection.rank_rule import ScoredRanks


@dataclass
class Proportional(ScoredRanks):
    """r_l = max(r_min, R·I_l^τ / Σ I^τ) in whole numbers, where R·(d_in + d_out) is the budget.

    Of modules of different widths the ranks, not the parameters, are in proportion to I^τ.
    """

    temperature: float = 1.0
    """τ, the exponent of the scores: 0 gives all the same rank, more than 1 favours the highest."""

    def weights(self, scores: Sequence[float], costs: Sequence[int]) -> list[float]:
        """Returns I^τ."""
        return [score**self.temperature for score in scores]

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, a negative exponent among them."""
        found = super().problems()
        if not 0 <= self.temperature < float("inf"):
            found.append(f"ranks.temperature: expected a number of at least 0, but got {self.temperature:g}")
        return found
