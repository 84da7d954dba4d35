"""The hybrid adapter of Faria: a quantile of the adapters, entry by entry."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.merging.method import Changes, MergeMethod

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass
class Hybrid(MergeMethod):
    """The result is the entry-wise quantile of the stacked ΔW, zero where an adapter has none, then the truncated SVD.

    Above 0.5 it favours positive entries, so merging negated adapters does not give the negated result; of two
    adapters on different layers, each entry keeps a share q of itself where it is positive and 1 − q where not.

    Reference: Faria, hybrid adapters (75 % quantile, rank 8).
    """

    quantile: float = 0.75
    """Which quantile of the T values of an entry, with linear interpolation between them."""

    def merge(self, changes: Changes, generator: "torch.Generator") -> "dict[str, Tensor]":
        """Takes the quantile of every entry."""
        from layersel.merging.entries import entrywise_quantile, stacked

        return {name: entrywise_quantile(stack, self.quantile) for name, stack in stacked(changes).items()}

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, the quantile among them."""
        wrong = f"merging.quantile: expected a share from 0 to 1, but got {self.quantile}"
        return super().problems() + ([] if 0 <= self.quantile <= 1 else [wrong])
