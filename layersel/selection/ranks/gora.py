"""The ranks of GoRA (He et al. 2025), under an exact budget."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from layersel.selection.rank_rule import ScoredRanks


@dataclass
class Gora(ScoredRanks):
    """r_m = a_m·Σ_k r·√(in_k + out_k) / √(in_m + out_m), with the share a_m = I_m/ΣI, between r_min and r_max.

    GoRA rounds this (its code down) and takes the parameters that come of it, more or fewer than the adapter's rank has
    everywhere; the scripts of its code (hhnqqq/MyTransformers) take no square roots, the paper does. Here the ranks are
    in the same proportion, and their common factor is the one that keeps the budget: 1 where all modules have the same
    widths and no bound holds. Its ranks are of modules; with a score of layers the modules of a layer are taken for
    one. GoRA goes with selection=gora, and has bounds of 4 and 32 for a rank of 8.

    Reference: He et al. 2025, "GoRA: gradient-driven adaptive low rank adaptation", section 3.2.
    """

    def weights(self, scores: Sequence[float], costs: Sequence[int]) -> list[float]:
        """Returns I/√(in + out)."""
        return [score / math.sqrt(cost) for score, cost in zip(scores, costs, strict=True)]
