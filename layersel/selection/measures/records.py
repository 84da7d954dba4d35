"""Representations of some records as similarities need them: checked, in float64 on the CPU, centred."""

import torch
from torch import Tensor

from layersel.errors import UserError
from layersel.selection.similarity_names import MIN_TEXTS

# Shapes: N records, D dimensions.


def checked(name: str, matrix: Tensor) -> Tensor:
    """Returns a matrix of at least 4 rows of finite numbers, in float64 on the CPU (MPS has no float64).

    Raises:
        ValueError: It is none.
    """
    if matrix.ndim != 2 or len(matrix) < MIN_TEXTS or not matrix.numel():
        expected = f"a matrix of at least {MIN_TEXTS} records"
        raise ValueError(f"{name}: expected {expected}, but got the shape {tuple(matrix.shape)}")
    broken = int((~matrix.isfinite()).sum())
    if broken:
        raise ValueError(f"{name}: expected finite numbers, but {broken} of {matrix.numel()} are NaN or inf")
    return matrix.to("cpu", torch.float64)


def checked_pair(x_ND: Tensor, y_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Returns two representations of the same records as `checked` does.

    Raises:
        ValueError: One is no such matrix, or they have different numbers of records.
    """
    x_ND, y_ND = checked("x_ND", x_ND), checked("y_ND", y_ND)
    if len(x_ND) != len(y_ND):
        raise ValueError(f"x_ND, y_ND: expected the same records, but got {len(x_ND)} and {len(y_ND)} of them")
    return x_ND, y_ND


def centred(x_ND: Tensor) -> Tensor:
    """Returns X without the mean of its columns; exactly 0 where only the rounding of the centring is left."""
    centred_ND: Tensor = x_ND - x_ND.mean(0)
    rounding = len(x_ND) * torch.finfo(x_ND.dtype).eps * torch.linalg.norm(x_ND)
    return centred_ND if torch.linalg.norm(centred_ND) > rounding else torch.zeros_like(x_ND)


def coordinates(x_ND: Tensor) -> Tensor:
    """Returns X turned so that it has at most N columns, which keeps all products of its rows and sums of them.

    Example:
        >>> x = torch.tensor([[3.0, 4.0, 0.0]], dtype=torch.float64)
        >>> coordinates(x).abs()
        tensor([[5.]], dtype=torch.float64)
    """
    return x_ND if x_ND.shape[1] <= len(x_ND) else torch.linalg.qr(x_ND.T, mode="r").R.T


def check_finite(values: Tensor, score: str, what: str) -> None:
    """Refuses values of which some are not finite.

    Raises:
        UserError: Some are NaN or infinite.
    """
    broken = int((~values.isfinite()).sum())
    if broken:
        raise UserError(
            f"selection={score}: {broken} of {values.numel()} {what} are NaN or infinite; use model.weights=fp32, or a "
            "model whose weights are all numbers"
        )
