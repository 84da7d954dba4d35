"""Control: weights drawn at random go."""

from dataclasses import dataclass

import torch
from torch import Tensor

from layersel.compression.pruning.weight_pruning import WeightPruning


@dataclass
class Random(WeightPruning):
    """Weights of each output, drawn uniformly without replacement, become zero."""

    def scores(self, weight_OI: Tensor, generator: torch.Generator) -> Tensor:
        """Uniform draws."""
        return torch.rand(weight_OI.shape, generator=generator)
