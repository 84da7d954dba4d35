"""Engines of integer matrix products on the CPU: int8 factors, exact sums, and so the same bits from each of them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from layersel.compression.quantisation.formats import AUTO, ENGINE_NAMES
from layersel.errors import UserError, one_of

# Shapes: N rows, O outputs, I inputs.

ZERO_POINT = 128
FLOAT_COLUMNS = 1024
"""As many columns as sum to no more than 1024·128² = 2²⁴, up to which float32 holds every integer."""


@dataclass(frozen=True)
class Engine:
    """One implementation of Y = X·Wᵀ over int8, scaled to float32.

    Attributes:
        name: The name in `precision.engine`.
        pack: From the integer weights (O×I) to the form that `multiply` takes.
        multiply: From int8 rows (N×I), packed weights and the scales of the outputs (O) to N×O in float32.
    """

    name: str
    pack: Callable[[Tensor], Tensor]
    multiply: Callable[[Tensor, Tensor, Tensor], Tensor]


def _onednn_pack(weight_OI: Tensor) -> Tensor:
    standing_OI = weight_OI.contiguous()  # of a turned weight the operator ignores the strides
    return torch.ops.onednn.qlinear_prepack(standing_OI, None)  # type: ignore[no-any-return]


def _onednn_signed(x_NI: Tensor, packed: Tensor, scales_O: Tensor) -> Tensor:
    return _onednn(x_NI, 0, packed, scales_O)


def _onednn_unsigned(x_NI: Tensor, packed: Tensor, scales_O: Tensor) -> Tensor:
    """Multiplies x + 128 and lets oneDNN take 128·Σw away again, exactly, in integers.

    CPUs with VNNI but without AMX multiply unsigned by signed integers only; of signed rows they run a reference
    kernel there, a thousand times slower.
    """
    shifted_NI = x_NI.view(torch.uint8) ^ ZERO_POINT  # the bits of x + 128
    return _onednn(shifted_NI, ZERO_POINT, packed, scales_O)


def _onednn(x_NI: Tensor, zero_point: int, packed: Tensor, scales_O: Tensor) -> Tensor:
    zeros_O = torch.zeros_like(scales_O, dtype=torch.long)
    weights = (packed, scales_O, zeros_O, None)
    # Rows have scales of their own, applied afterwards: here the input's and the output's scale are 1.
    return torch.ops.onednn.qlinear_pointwise(  # type: ignore[no-any-return]
        x_NI, 1.0, zero_point, *weights, 1.0, 0, torch.float32, "none", [], "none"
    )


def _int_mm_pack(weight_OI: Tensor) -> Tensor:
    # contiguous() would keep the strides of a single input, which the operator misreads.
    return torch.empty(weight_OI.shape[::-1], dtype=torch.int8).copy_(weight_OI.t())


def _int_mm_multiply(x_NI: Tensor, packed: Tensor, scales_O: Tensor) -> Tensor:
    return torch._int_mm(x_NI, packed).float().mul_(scales_O)


def _float_pack(weight_OI: Tensor) -> Tensor:
    return weight_OI.t().float().contiguous()


def _float_multiply(x_NI: Tensor, packed: Tensor, scales_O: Tensor) -> Tensor:
    """Multiplies the integers as floats, as many columns at a time as float32 sums exactly."""
    x_NI = x_NI.float()
    if x_NI.shape[1] <= FLOAT_COLUMNS:
        return (x_NI @ packed).mul_(scales_O)
    sums_NO = torch.zeros(len(x_NI), packed.shape[1], dtype=torch.int32)
    for first in range(0, len(packed), FLOAT_COLUMNS):
        columns = slice(first, first + FLOAT_COLUMNS)
        sums_NO += (x_NI[:, columns] @ packed[columns]).to(torch.int32)
    return sums_NO.float().mul_(scales_O)


_PARTS = (
    (_onednn_pack, _onednn_unsigned),
    (_onednn_pack, _onednn_signed),
    (_int_mm_pack, _int_mm_multiply),
    (_float_pack, _float_multiply),
)
ENGINES = {name: Engine(name, *parts) for name, parts in zip(ENGINE_NAMES, _PARTS, strict=True)}


def usable_engines(wanted: str = AUTO) -> list[Engine]:
    """Returns the engines that work on this machine, float32 always among them, or the one wanted.

    Raises:
        UserError: The one wanted is unknown, not here, or does not sum exactly.
    """
    if wanted not in (AUTO, *ENGINES):
        raise one_of("precision.engine", wanted, (AUTO, *ENGINES))
    if wanted == AUTO:
        return [engine for name, engine in ENGINES.items() if is_exact(name)]
    if not is_exact(wanted):
        raise UserError(
            f"precision.engine: expected an engine that sums exactly on this CPU, but got {wanted}; use auto"
        )
    return [ENGINES[wanted]]


@cache
def is_exact(name: str) -> bool:
    """Returns whether the engine works here and sums exactly: CPUs without VNNI saturate the largest products.

    The sums go beyond 2²⁴, so that it shows whether they are made as integers. The matrix is small: a reference
    kernel takes some milliseconds for it.
    """
    engine = ENGINES[name]
    x_NI = torch.full((3, 1100), 127, dtype=torch.int8)
    x_NI[1] = -127
    x_NI[2, ::3] = -127
    weight_OI = torch.full((33, 1100), 127, dtype=torch.int8)
    weight_OI[::3] = -127
    weight_OI[:, 0] = torch.arange(33)
    scales_O = torch.linspace(0.5, 2, 33)
    expected = (x_NI.long() @ weight_OI.long().t()).float() * scales_O
    try:
        got = engine.multiply(x_NI, engine.pack(weight_OI), scales_O)
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return torch.equal(got, expected)
