"""Singular values of weight changes: a matrix becomes two factors of a given rank, and what these leave out."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from layersel.adapters.change import Change

# Shapes: O outputs and I inputs of a weight matrix, R rank.


class SVD(NamedTuple):
    """ΔW = U·diag(s)·V in float64, singular values in falling order."""

    u_OR: Tensor
    s_R: Tensor
    v_RI: Tensor

    def cut(self, rank: int | None) -> "SVD":
        """Returns the first `rank` terms; None for all."""
        return SVD(self.u_OR[:, :rank], self.s_R[:rank], self.v_RI[:rank])

    def balanced(self) -> tuple[Tensor, Tensor]:
        """Returns B = U·√s (O×R) and A = √s·V (R×I)."""
        root_R = self.s_R.sqrt()
        return self.u_OR * root_R, root_R[:, None] * self.v_RI


def svd(matrix_OI: Tensor) -> SVD:
    """Returns the thin singular value decomposition."""
    return SVD(*torch.linalg.svd(matrix_OI.double(), full_matrices=False))


def svd_of(change: Change) -> SVD:
    """Returns the decomposition of ΔW, without the terms that are rounding; low-rank factors make it cheap.

    With B = Q_B·R_B and Aᵀ = Q_A·R_A, the SVD of the small R_B·R_Aᵀ is that of B·A up to the two orthonormal bases.
    """
    if change.factors is None:
        whole = svd(change.dense)
    else:
        up_OR, down_RI = (factor.double() for factor in change.factors)
        left, right = torch.linalg.qr(up_OR), torch.linalg.qr(down_RI.T)
        core = svd(left.R @ right.R.T)
        whole = SVD(left.Q @ core.u_OR, core.s_R, core.v_RI @ right.Q.T)
    return whole.cut(numerical_rank(whole.s_R, change.dense.shape))


def numerical_rank(s_R: Tensor, shape: torch.Size) -> int:
    """Counts the singular values above the rounding of a float32 matrix of that shape.

    Example:
        >>> numerical_rank(torch.tensor([3.0, 1.0, 1e-9]), torch.Size([4, 3]))
        2
    """
    if not len(s_R):
        return 0
    rounding = max(shape) * torch.finfo(torch.float32).eps * s_R.max()
    return int((s_R > rounding).sum())


def truncate(matrix_OI: Tensor, rank: int | None) -> tuple[tuple[Tensor, Tensor], float]:
    """Returns the best factors of that rank (Eckart and Young 1936) and the squared Frobenius norm that they leave out.

    Args:
        matrix_OI: ΔW.
        rank: R; None for the matrix's own, but at least 1.

    Returns:
        (B, A), (O×R, R×I) in float32 with √s in each, and the sum of the squares of the other singular values.

    Example:
        >>> (up, down), left_out = truncate(torch.diag(torch.tensor([4.0, 1.0])), rank=1)
        >>> (up @ down).diagonal(), left_out
        (tensor([4., 0.]), 1.0)
    """
    whole = svd(matrix_OI)
    kept = max(numerical_rank(whole.s_R, matrix_OI.shape), 1) if rank is None else rank
    up_OR, down_RI = whole.cut(kept).balanced()
    return (up_OR.float().contiguous(), down_RI.float().contiguous()), math.fsum(whole.s_R[kept:].square())
