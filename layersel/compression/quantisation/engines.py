"""Engines of integer matrix products on the CPU: int8 factors, exact 32-bit sums."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from layersel.compression.quantisation.formats import AUTO, ENGINE_NAMES
from layersel.errors import UserError, one_of

# Shapes: N rows, O outputs, I inputs.


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


def _onednn_multiply(x_NI: Tensor, packed: Tensor, scales_O: Tensor) -> Tensor:
    zeros_O = torch.zeros_like(scales_O, dtype=torch.long)
    unscaled = (1.0, 0)  # rows have scales of their own, applied afterwards
    weights = (packed, scales_O, zeros_O, None)
    return torch.ops.onednn.qlinear_pointwise(  # type: ignore[no-any-return]
        x_NI, *unscaled, *weights, *unscaled, torch.float32, "none", [], "none"
    )


def _int_mm_pack(weight_OI: Tensor) -> Tensor:
    return weight_OI.t().contiguous()


def _int_mm_multiply(x_NI: Tensor, packed: Tensor, scales_O: Tensor) -> Tensor:
    return torch._int_mm(x_NI, packed).float().mul_(scales_O)


_PARTS = ((_onednn_pack, _onednn_multiply), (_int_mm_pack, _int_mm_multiply))
ENGINES = {name: Engine(name, *parts) for name, parts in zip(ENGINE_NAMES, _PARTS, strict=True)}


def usable_engines(wanted: str = AUTO) -> list[Engine]:
    """Returns the engines that this machine has, or the one wanted.

    Raises:
        UserError: There is none; the one wanted is unknown, not here, or does not sum exactly.
    """
    if wanted not in (AUTO, *ENGINES):
        raise one_of("precision.engine", wanted, (AUTO, *ENGINES))
    usable = [engine for name, engine in ENGINES.items() if wanted in (AUTO, name) and is_exact(name)]
    if not usable:
        which = "engine" if wanted == AUTO else f"engine {wanted}"
        raise UserError(
            f"precision.engine: int8 needs integer kernels, but {which} does not work with this PyTorch and CPU; "
            "use precision.infer=int8_weight or fp32"
        )
    return usable


@cache
def is_exact(name: str) -> bool:
    """Returns whether the engine works here and sums the largest products exactly (CPUs without VNNI may saturate)."""
    engine = ENGINES[name]
    x_NI = torch.full((5, 70), 127, dtype=torch.int8)
    x_NI[1] = -127
    x_NI[2, ::2] = -127
    weight_OI = torch.full((33, 70), 127, dtype=torch.int8)
    weight_OI[::3] = -127
    scales_O = torch.linspace(0.5, 2, 33)
    expected = (x_NI.double() @ weight_OI.double().t() * scales_O).float()
    try:
        got = engine.multiply(x_NI, engine.pack(weight_OI), scales_O)
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return torch.allclose(got, expected, rtol=1e-6, atol=0)
