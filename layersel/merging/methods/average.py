"""The weighted mean of the adapters."""

from dataclasses import dataclass

import torch
from torch import Tensor

from layersel.errors import UserError
from layersel.merging.method import Changes, MergeMethod, stacked


@dataclass
class Average(MergeMethod):
    """Σ λ_t·ΔW_t / Σ λ_t over all T adapters; one without a change in a module counts as zero there.

    Reference: Wortsman et al. 2022, "Model soups" (uniform soup), over weight changes.
    """

    def merge(self, changes: Changes, generator: torch.Generator) -> dict[str, Tensor]:
        """The sum: the normalised λ is in the changes already."""
        return {name: stack.sum(0) for name, stack in stacked(changes).items()}

    def scale(self, weights_TL: Tensor) -> Tensor:
        """λ over its sum, in each layer.

        Raises:
            UserError: The sum is 0 in some layer.
        """
        sums_L = weights_TL.sum(0)
        if bool((sums_L == 0).any()):
            raise UserError("merging.weights: expected a sum other than 0 in every layer for the average")
        return weights_TL / sums_L

    def problems(self) -> list[str]:
        """As `MergeMethod.problems`, weights that sum to 0, and a search that changes nothing."""
        found = super().problems()
        if self.search is not None and any(weight <= 0 for weight in self.grid):
            found.append(f"merging.grid: expected numbers above 0 for the average, but got {self.grid}")
        if self.search == "common":
            found.append("merging.search: expected each or null, for the average normalises weights, but got common")
        if not found:
            n_layers = 1 if self.layer_weights is None else len(self.layer_weights[0])
            try:
                self.scale(self.given_weights(self.n_adapters, n_layers))
            except UserError as error:
                found.append(str(error))
        return found
