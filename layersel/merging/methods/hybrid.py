"""The hybrid adapter of Faria: a quantile of the adapters, entry by entry."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from layersel.merging.method import Changes, MergeMethod, stacked


@dataclass
class Hybrid(MergeMethod):
    """Entry-wise quantile of the stacked ΔW, zero where an adapter has none, then the truncated SVD.

    Above 0.5 it favours positive entries, so merging negated adapters does not give the negated result; of two
    adapters on different layers, each entry keeps a share q of itself where it is positive and 1 − q where not.

    Reference: Faria, hybrid adapters for citation screening (75 % quantile, rank 8).
    """

    quantile: float = 0.75
    """Which quantile of the T values of an entry, with linear interpolation between them."""

    def merge(self, changes: Changes, generator: torch.Generator) -> dict[str, Tensor]:
        """The quantile of every entry."""
        return {name: entrywise_quantile(stack, self.quantile) for name, stack in stacked(changes).items()}

    def problems(self) -> list[str]:
        """As `MergeMethod.problems`, and the quantile."""
        wrong = f"merging.quantile: expected a share from 0 to 1, but got {self.quantile}"
        return super().problems() + ([] if 0 <= self.quantile <= 1 else [wrong])


def entrywise_quantile(stack_TOI: Tensor, quantile: float) -> Tensor:
    """The quantile over the first dimension, linearly interpolated (`torch.quantile` has a size limit).

    Example:
        >>> entrywise_quantile(torch.tensor([[[0.0]], [[4.0]], [[2.0]]]), 0.75)
        tensor([[3.]])
    """
    ordered_TOI = stack_TOI.sort(dim=0).values
    place = quantile * (len(stack_TOI) - 1)
    return torch.lerp(ordered_TOI[math.floor(place)], ordered_TOI[math.ceil(place)], place % 1)
