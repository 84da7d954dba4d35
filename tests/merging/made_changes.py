"""Random adapters over a few small modules, and what `merge_adapters` makes of them as dense matrices."""

from collections.abc import Sequence

import torch
from torch import Tensor

from layersel.adapters.change import Change
from layersel.merging.merge import merge_adapters
from layersel.merging.method import MergeMethod

SHAPES = {"layer.0.query": (6, 5), "layer.0.value": (4, 5), "layer.1.query": (6, 5), "layer.2.up": (5, 7)}
LAYER_OF = {name: int(name.split(".")[1]) for name in SHAPES} | {"layer.3.query": 3}
FIRST, SECOND = ["layer.0.query", "layer.0.value"], ["layer.1.query", "layer.2.up"]

Adapter = dict[str, Change]


def generator(seed: int = 0) -> torch.Generator:
    """A generator of its own."""
    return torch.Generator().manual_seed(seed)


def low_rank(seed: int, rank: int = 2, names: Sequence[str] = tuple(SHAPES)) -> Adapter:
    """An adapter of that rank on these modules."""
    draws = generator(seed)
    return {
        name: Change.low_rank(
            torch.randn(SHAPES[name][0], rank, generator=draws), torch.randn(rank, SHAPES[name][1], generator=draws)
        )
        for name in names
    }


def dense(seed: int, names: Sequence[str] = tuple(SHAPES)) -> Adapter:
    """An adapter without factors."""
    draws = generator(seed)
    return {name: Change(torch.randn(*SHAPES[name], generator=draws)) for name in names}


def times(adapter: Adapter, factor: float) -> Adapter:
    """The adapter with each ΔW multiplied; of the factors, B is."""
    return {
        name: Change(
            change.dense * factor, None if change.factors is None else (change.factors[0] * factor, change.factors[1])
        )
        for name, change in adapter.items()
    }


def whole(adapter: Adapter) -> dict[str, Tensor]:
    """ΔW of every module of `SHAPES`, in float64, zero where the adapter has none."""
    zero = {name: torch.zeros(*shape, dtype=torch.float64) for name, shape in SHAPES.items()}
    return zero | {name: change.dense.double() for name, change in adapter.items()}


def merged(
    method: MergeMethod, adapters: Sequence[Adapter], weights_TL: Tensor | None = None, seed: int = 0
) -> dict[str, Tensor]:
    """B·A of every module of `SHAPES`, zero where the result has none."""
    result = merge_adapters(method, adapters, LAYER_OF, generator(seed), weights_TL)
    return whole({name: Change.low_rank(*factors) for name, factors in result.factors.items()})


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor], atol: float = 2e-6) -> None:
    """All modules, entry by entry; the factors are float32."""
    assert set(left) == set(right)
    for name, matrix in left.items():
        torch.testing.assert_close(matrix.double(), right[name].double(), rtol=1e-5, atol=atol, msg=name)
