"""KnOTS: merge in the space that the adapters' singular vectors span together."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from layersel.adapters.change import Change
from layersel.errors import one_of
from layersel.merging.factoring import svd, svd_of
from layersel.merging.method import Changes, MergeMethod, stacked
from layersel.merging.methods.dare import drop_problems, dropped_out
from layersel.merging.methods.ties import density_problems, elected_mean, trimmed

INNER = ("average", "ties", "dare")
CUTOFF = 1e-5


@dataclass
class Knots(MergeMethod):
    """[ΔW_1 … ΔW_T] = U·Σ·[V_1 … V_T]; the Σ·V_t are merged, and U·merged is the result.

    As in the published code, singular values up to 1e-5 are dropped, and the merge of the Σ·V_t, like that of TIES,
    is over whole adapters, not module by module. U spans all columns, so inner=average is the plain mean of the ΔW.

    Reference: Stoica et al. 2025, "Model merging with SVD to tie the KnOTS", and its published code.
    """

    inner: str = "ties"
    """What merges the Σ·V_t: average, ties, dare (drop and rescale, then the sign election of ties)."""
    density: float = 0.2
    """With inner=ties, the share of an adapter's Σ·V_t that is kept."""
    drop: float = 0.5
    """With inner=dare, the probability to drop an entry."""

    def merge(self, changes: Changes, generator: torch.Generator) -> dict[str, Tensor]:
        """Align, merge, and go back by U."""
        bases = {name: joint_basis(group) for name, group in changes.items()}
        aligned = {name: bases[name].T @ stack for name, stack in stacked(changes).items()}
        merged = self._merged(aligned, generator)
        return {name: bases[name] @ merged[name] for name in bases}

    def _merged(self, aligned: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        if self.inner == "average":
            return {name: stack.mean(0) for name, stack in aligned.items()}
        chosen = trimmed(aligned, self.density) if self.inner == "ties" else dropped_out(aligned, self.drop, generator)
        return {name: elected_mean(stack) for name, stack in chosen.items()}

    def problems(self) -> list[str]:
        """As `MergeMethod.problems`, and the inner method with its options."""
        found = super().problems() + density_problems(self.density) + drop_problems(self.drop)
        return found + ([] if self.inner in INNER else [str(one_of("merging.inner", self.inner, INNER))])


def joint_basis(changes_T: Sequence[Change]) -> Tensor:
    """U (O×R), the left singular vectors of the ΔW side by side whose singular value is above the cutoff.

    They are those of the U_t·Σ_t side by side, a narrow matrix if the changes are low rank: what stands on the right
    of it has orthonormal rows. So Σ·V_t is Uᵀ·ΔW_t, exactly zero for an adapter without this module.
    """
    parts = [svd_of(change) for change in changes_T]
    joint = svd(torch.cat([part.u_OR * part.s_R for part in parts], dim=1))
    return joint.u_OR[:, joint.s_R > CUTOFF]
