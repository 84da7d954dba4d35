"""Masks of the weights that stay: the lowest of each comparison group do not, as many as wanted, in ties too."""

import torch
from torch import Tensor

from layersel.compression.pruning.patterns import check_divides, floor_share, parse_pattern
from layersel.errors import UserError

# Shapes: G comparison groups, K weights in each; O outputs, I inputs.


def keep_highest(scores_GK: Tensor, share: float) -> Tensor:
    """Returns a mask (G×K) that is False for the ⌊share·K⌋ lowest scores of each row, of equal ones for the first.

    This is what the reference code of Wanda does (Sun et al. 2023), which sorts stably.

    Raises:
        UserError: The share is not between 0 and 1.

    Example:
        >>> keep_highest(torch.tensor([[3., 1., 2., 4.], [1., 1., 1., 1.]]), 0.5).int().tolist()
        [[1, 0, 0, 1], [0, 0, 1, 1]]
    """
    if not 0 <= share <= 1:
        raise UserError(f"pruning.sparsity: expected 0 to 1, but got {share:g}")
    return _without_lowest(scores_GK, floor_share(share, scores_GK.shape[1]))


def keep_pattern(scores_OI: Tensor, pattern: str) -> Tensor:
    """Returns a mask (O×I) that is False for the n lowest scores of every m consecutive inputs, for a pattern n:m.

    Raises:
        UserError: m does not divide the number of inputs.

    Example:
        >>> keep_pattern(torch.tensor([[3., 1., 2., 4., 9., 8., 7., 6.]]), "2:4").int().tolist()
        [[1, 0, 0, 1, 1, 1, 0, 0]]
    """
    n, m = parse_pattern(pattern)
    check_divides(pattern, scores_OI.shape[1], "these weights")
    return _without_lowest(scores_OI.reshape(-1, m), n).reshape(scores_OI.shape)


def _without_lowest(scores_GK: Tensor, count: int) -> Tensor:
    lowest = scores_GK.argsort(dim=1, stable=True)[:, :count]
    return torch.ones_like(scores_GK, dtype=torch.bool).scatter(1, lowest, value=False)
