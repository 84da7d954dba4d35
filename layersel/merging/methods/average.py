"""The weighted mean of the adapters."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.errors import UserError
from layersel.merging.method import Changes, MergeMethod

if TYPE_CHECKING:
    import torch
    from torch import Tensor


ZERO_SUM = "merging.weights: expected a sum other than 0 in every layer for the average"


@dataclass
class Average(MergeMethod):
    """Σ λ_t·ΔW_t / Σ λ_t over all T adapters; one without a change in a module counts as zero there.

    Reference: Wortsman et al. 2022, "Model soups" (uniform soup), over weight changes.
    """

    def merge(self, changes: Changes, generator: "torch.Generator") -> "dict[str, Tensor]":
        """Adds the changes up, which are already times the normalised λ."""
        from layersel.merging.entries import stacked

        return {name: stack.sum(0) for name, stack in stacked(changes).items()}

    def scale(self, weights_TL: "Tensor") -> "Tensor":
        """Returns λ divided by its sum in each layer.

        Raises:
            UserError: The sum is 0 in some layer.
        """
        return normalised(weights_TL)

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong: weights that sum to 0, a search that changes nothing."""
        return super().problems() or average_problems(self)


def normalised(weights_TL: "Tensor") -> "Tensor":
    """Returns λ divided by its sum in each layer.

    Raises:
        UserError: The sum is 0 in some layer.
    """
    sums_L = weights_TL.sum(0)
    if bool((sums_L == 0).any()):
        raise UserError(ZERO_SUM)
    return weights_TL / sums_L


def average_problems(method: MergeMethod) -> list[str]:
    """Returns one line for each option that does not fit a method that normalises λ."""
    found = []
    if method.search is not None and any(weight <= 0 for weight in method.grid):
        found.append(f"merging.grid: expected numbers above 0 for the average, but got {method.grid}")
    if method.search == "common":
        found.append("merging.search: expected each or null, for the average normalises weights, but got common")
    rows = method.layer_weights if method.layer_weights is not None else [[own] for own in method.weights or [1.0]]
    if 0 in [sum(column) for column in zip(*rows, strict=True)]:
        found.append(ZERO_SUM)
    return found
