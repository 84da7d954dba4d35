"""Control: weights drawn at random become zero."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.compression.pruning.weight_pruning import WeightPruning

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass
class Random(WeightPruning):
    """Weights of each output, drawn uniformly without replacement, become zero."""

    def scores(self, weight_OI: "Tensor", generator: "torch.Generator") -> "Tensor":
        """Draws a score for each weight uniformly."""
        import torch

        return torch.rand(weight_OI.shape, generator=generator)
