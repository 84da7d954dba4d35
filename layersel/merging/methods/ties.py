"""TIES: trim, elect signs, and average what agrees."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.merging.method import Changes, MergeMethod

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass
class Ties(MergeMethod):
    """Keeps each adapter's largest entries, elects the sign of their sum, averages the entries of that sign.

    Trimming is over the whole adapter, as in the paper: its strongest layers keep more than its weakest. Entries of
    layers that it does not have are not counted, so what it keeps does not depend on the other adapters. With
    density 1, merging one adapter, or A with A, returns it. An entry that sums to 0 is 0 in the result, by the paper's
    equation; its published code takes the sign that prevails in the whole model there.

    Reference: Yadav et al. 2023, "TIES-Merging: resolving interference when merging models", algorithm 1; density
    0.2 and λ = 1 are its values where none can be validated.
    """

    density: float = 0.2
    """Share of an adapter's entries that is kept, the largest by magnitude."""

    def merge(self, changes: Changes, generator: "torch.Generator") -> "dict[str, Tensor]":
        """Trims the adapters, elects signs and averages the entries that agree."""
        from layersel.merging.entries import elected_mean, stacked, trimmed

        return {name: elected_mean(stack) for name, stack in trimmed(stacked(changes), self.density).items()}

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, the density among them."""
        return super().problems() + density_problems(self.density)


def density_problems(density: float) -> list[str]:
    """Returns a line if the density is no share."""
    return [] if 0 < density <= 1 else [f"merging.density: expected 0 < share <= 1, but got {density}"]
