"""Magnitude pruning: the smallest weights become zero."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.compression.pruning.weight_pruning import WeightPruning

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass
class Magnitude(WeightPruning):
    """The lowest |W| of each matrix become zero.

    Without a pattern all weights of a matrix are compared, not those of one output as in Wanda: this is the baseline
    that Sun et al. 2023 report (`prune_magnitude` of their code), after Han et al. 2015. So outputs may lose different
    shares of their weights.
    """

    def scores(self, weight_OI: "Tensor", generator: "torch.Generator") -> "Tensor":
        """Returns |W|."""
        return weight_OI.abs()

    def keep(self, scores_OI: "Tensor") -> "Tensor":
        """Returns the mask (O×I) of the weights that stay; without a pattern all weights of the matrix are compared."""
        from layersel.compression.pruning.masks import keep_highest

        if self.pattern is not None:
            return super().keep(scores_OI)
        return keep_highest(scores_OI.reshape(1, -1), self.share).reshape(scores_OI.shape)
