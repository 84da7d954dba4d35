"""Shares and patterns of zeros, as they are written."""

import math
import re
from fractions import Fraction

from layersel.errors import UserError


def floor_share(share: float, count: int) -> int:
    """Computes ⌊share·count⌋ of the share as it is written: in binary, .29 of 100 would be 28.999….

    Example:
        >>> floor_share(0.29, 100), floor_share(0.3, 384)
        (29, 115)
    """
    return math.floor(Fraction(str(share)) * count)


def parse_pattern(pattern: str) -> tuple[int, int]:
    """Returns the numbers of a pattern n:m, in which n of every m consecutive weights are zero.

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
    """Checks that groups of m fill a row.

    Raises:
        UserError: They do not.
    """
    m = parse_pattern(pattern)[1]
    if inputs % m:
        raise UserError(
            f"pruning.pattern: expected n:m with an m that divides the {inputs} inputs of {whose}, but got {pattern}; "
            "use another, or pruning.sparsity alone"
        )
