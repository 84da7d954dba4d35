"""The space that the weight changes of several adapters span together (KnOTS)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from layersel.adapters.change import Change
from layersel.adapters.factoring import svd, svd_of

# Shapes: O outputs of a weight matrix, R rank.

CUTOFF = 1e-5
"""Singular values up to this one are dropped, as in the published code of KnOTS."""


def joint_basis(changes_T: Sequence[Change]) -> Tensor:
    """Returns U (O×R), the left singular vectors of the ΔW side by side whose singular value is above `CUTOFF`.

    They are those of the U_t·Σ_t side by side, a narrow matrix if the changes are low rank: what stands on the right
    of it has orthonormal rows. So Σ·V_t is Uᵀ·ΔW_t, exactly zero for an adapter without this module.
    """
    parts = [svd_of(change) for change in changes_T]
    joint = svd(torch.cat([part.u_OR * part.s_R for part in parts], dim=1))
    return joint.u_OR[:, joint.s_R > CUTOFF]
