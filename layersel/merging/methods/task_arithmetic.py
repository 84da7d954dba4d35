"""Task arithmetic: the weighted sum of the adapters."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.merging.method import Changes, MergeMethod

if TYPE_CHECKING:
    import torch
    from torch import Tensor

OWN_WEIGHT = 0.4


@dataclass
class TaskArithmetic(MergeMethod):
    """Σ λ_t·ΔW_t, with λ = 0.4 unless given: what is recommended where none can be validated.

    Merging one adapter returns λ times it, merging A with A gives 2λ·A; negative λ subtracts a task.

    Reference: Ilharco et al. 2023, "Editing models with task arithmetic", section 2; λ as in the comparisons of
    Yadav et al. 2023 without validation.
    """

    @property
    def own_weight(self) -> float:
        """Returns λ of every adapter unless the user gives others, which is 0.4."""
        return OWN_WEIGHT

    def merge(self, changes: Changes, generator: "torch.Generator") -> "dict[str, Tensor]":
        """Adds the changes up, which are already times λ."""
        from layersel.merging.entries import stacked

        return {name: stack.sum(0) for name, stack in stacked(changes).items()}
