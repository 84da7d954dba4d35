"""Which weights stay: the lowest scores of each comparison group go, exactly as many as wanted, ties included."""

import math
import re
from fractions import Fraction

import torch
from torch import Tensor

from layersel.errors import UserError

# Shapes: G comparison groups, K weights in each; O outputs, I inputs.


def keep_highest(scores_GK: Tensor, share: float) -> Tensor:
    """Mask (G×K) that is False for the ⌊share·K⌋ lowest scores of each row; of equal ones the first go.

    As the reference code of Wanda (Sun et al. 2023), which sorts stably.

    Raises:
        UserError: The share is not one.

    Example:
        >>> keep_highest(torch.tensor([[3., 1., 2., 4.], [1., 1., 1., 1.]]), 0.5).int().tolist()
        [[1, 0, 0, 1], [0, 0, 1, 1]]
    """
    if not 0 <= share <= 1:
        raise UserError(f"pruning.sparsity: expected 0 to 1, but got {share:g}")
    return _without_lowest(scores_GK, floor_share(share, scores_GK.shape[1]))


def keep_pattern(scores_OI: Tensor, pattern: str) -> Tensor:
    """Mask (O×I) that is False for the n lowest scores of every m consecutive inputs, for a pattern n:m.

    Raises:
        UserError: m does not divide the number of inputs.

    Example:
        >>> keep_pattern(torch.tensor([[3., 1., 2., 4., 9., 8., 7., 6.]]), "2:4").int().tolist()
        [[1, 0, 0, 1, 1, 1, 0, 0]]
    """
    n, m = parse_pattern(pattern)
    check_divides(pattern, scores_OI.shape[1], "these weights")
    return _without_lowest(scores_OI.reshape(-1, m), n).reshape(scores_OI.shape)


def floor_share(share: float, count: int) -> int:
    """⌊share·count⌋ of the share as it is written: in binary, .29 of 100 would be 28.999….

    Example:
        >>> floor_share(0.29, 100), floor_share(0.3, 384)
        (29, 115)
    """
    return math.floor(Fraction(str(share)) * count)


def parse_pattern(pattern: str) -> tuple[int, int]:
    """The numbers of a pattern n:m, in which n of every m consecutive weights are zero.

    Raises:
        UserError: It is not of that form, or leaves none or all of the weights.

    Example:
        >>> parse_pattern("2:4")
        (2, 4)
    """
    match = re.fullmatch(r"(\d+):(\d+)", pattern)
    n, m = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 0 < n < m:
        raise UserError(f"pruning.pattern: expected n:m with 0 < n < m, such as 2:4, but got {pattern!r}")
    return n, m


def check_divides(pattern: str, inputs: int, whose: str) -> None:
    """Groups of m must fill a row.

    Raises:
        UserError: They do not.
    """
    m = parse_pattern(pattern)[1]
    if inputs % m:
        raise UserError(
            f"pruning.pattern: expected n:m with an m that divides the {inputs} inputs of {whose}, but got {pattern}; "
            "use another, or pruning.sparsity alone"
        )


def _without_lowest(scores_GK: Tensor, count: int) -> Tensor:
    lowest = scores_GK.argsort(dim=1, stable=True)[:, :count]
    return torch.ones_like(scores_GK, dtype=torch.bool).scatter(1, lowest, value=False)
