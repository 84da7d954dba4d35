"""KnOTS: merge in the space that the adapters' singular vectors span together."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.errors import one_of
from layersel.merging.method import Changes, MergeMethod
from layersel.merging.methods.average import average_problems, normalised
from layersel.merging.methods.dare import drop_problems
from layersel.merging.methods.ties import density_problems

if TYPE_CHECKING:
    import torch
    from torch import Tensor

INNER = ("average", "ties", "dare")


@dataclass
class Knots(MergeMethod):
    """[ΔW_1 … ΔW_T] = U·Σ·[V_1 … V_T]; the Σ·V_t are merged, and U·merged is the result.

    As in the published code, singular values up to 1e-5 are dropped, and the merge of the Σ·V_t, like that of TIES,
    is over whole adapters, not module by module. U spans all columns, so inner=average is the weighted mean of the ΔW.

    Reference: Stoica et al. 2025, "Model merging with SVD to tie the KnOTS", and its published code.
    """

    inner: str = "ties"
    """The method that merges the Σ·V_t: average, ties, dare (drop and rescale, then the sign election of ties)."""
    density: float = 0.2
    """With inner=ties, the share of an adapter's Σ·V_t that is kept."""
    drop: float = 0.5
    """With inner=dare, the probability to drop an entry."""

    def merge(self, changes: Changes, generator: "torch.Generator") -> "dict[str, Tensor]":
        """Aligns the changes, merges them, and goes back by U."""
        from layersel.merging.entries import stacked
        from layersel.merging.joint_basis import joint_basis

        bases = {name: joint_basis(group) for name, group in changes.items()}
        aligned = {name: bases[name].T @ stack for name, stack in stacked(changes).items()}
        merged = self._merged(aligned, generator)
        return {name: bases[name] @ merged[name] for name in bases}

    def _merged(self, aligned: "dict[str, Tensor]", generator: "torch.Generator") -> "dict[str, Tensor]":
        from layersel.merging.entries import dropped_out, elected_mean, trimmed

        if self.inner == "average":
            return {name: stack.mean(0) for name, stack in aligned.items()}
        chosen = trimmed(aligned, self.density) if self.inner == "ties" else dropped_out(aligned, self.drop, generator)
        return {name: elected_mean(stack) for name, stack in chosen.items()}

    def scale(self, weights_TL: "Tensor") -> "Tensor":
        """Returns λ; with inner=average it is T·λ divided by its sum, for the mean over the T adapters comes after."""
        return normalised(weights_TL) * len(weights_TL) if self.inner == "average" else weights_TL

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong: the inner method and its options among them."""
        found = super().problems() + density_problems(self.density) + drop_problems(self.drop)
        if self.inner not in INNER:
            found.append(str(one_of("merging.inner", self.inner, INNER)))
        return found or (average_problems(self) if self.inner == "average" else [])
