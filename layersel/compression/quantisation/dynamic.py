"""Dynamic int8: the linear layers inside the blocks become integer ones, calibrated on a few texts."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from layersel.backbone.backbone import Backbone
from layersel.backbone.layers import linear_modules, weight_OI
from layersel.backbone.modes import evaluating
from layersel.compression.quantisation.engines import Engine, usable_engines
from layersel.compression.quantisation.formats import AUTO
from layersel.compression.quantisation.int8_linear import Int8Linear
from layersel.data.tokens import TokenIds
from layersel.errors import UserError

TIMED_TOKENS = 2048
"""The tokens, at least, of the texts that engines are timed on."""
ROUNDS = 2
"""How often each engine is timed; its fastest round counts."""


def to_int8(
    backbone: Backbone, largest: dict[str, Tensor], share: float, engine: str, texts: Sequence[TokenIds]
) -> tuple[str, dict[str, float]]:
    """Replaces the linear layers inside the blocks by integer ones, in place.

    Args:
        backbone: A plain model on the CPU.
        largest: The largest magnitudes that `watched_columns` has found.
        share: The share of input columns, those with the largest entries, to keep in float32.
        engine: A name in `ENGINES`, or `auto`: the fastest for these texts.
        texts: Token ids of the texts that are timed.

    Returns:
        The name of the engine used, and the milliseconds of fp32 and of each engine, if engines were compared.
    """
    engines = usable_engines(engine)
    timed = _timed_texts(texts)
    taken = {"fp32": _milliseconds(backbone, timed)} if engine == AUTO else {}
    integer = _replace(backbone, largest, share, engines[0])
    if engine == AUTO:
        taken |= _timed(backbone, integer, engines, timed)
        engines.sort(key=lambda one: taken[one.name])
    _use(integer, engines[0])
    return engines[0].name, taken


@contextmanager
def watched_columns(backbone: Backbone) -> Iterator[dict[str, Tensor]]:
    """Yields the largest magnitudes of the input columns of each linear layer, by its name, over what the block runs.

    Raises:
        UserError: The model stands on another device than the CPU, is in integers already, or has adapters.
    """
    largest: dict[str, Tensor] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor]], None]:
        def keep(_: nn.Module, args: tuple[Tensor]) -> None:
            columns_I = args[0].flatten(0, -2).abs().amax(dim=0)
            largest[name] = torch.maximum(largest[name], columns_I) if name in largest else columns_I

        return keep

    with ExitStack() as stack:
        for name, module in _float_linears(backbone).items():
            stack.callback(module.register_forward_pre_hook(watch(name)).remove)
        yield largest


def _float_linears(backbone: Backbone) -> dict[str, nn.Module]:
    if backbone.device.type != "cpu":
        raise UserError(f"precision.infer: int8 runs on the CPU only, but the model is on {backbone.device.type}")
    linears = linear_modules(backbone.model)
    for name, module in linears.items():
        if module is not backbone.model.get_submodule(name):
            raise UserError(f"precision.infer: int8 needs a model without adapters, but {name} has one; merge it first")
        if isinstance(module, Int8Linear) or not weight_OI(module).is_floating_point():
            raise UserError(f"precision.infer: int8 needs floating-point weights, but those of {name} are integers")
    return linears


def _replace(backbone: Backbone, largest: dict[str, Tensor], share: float, engine: Engine) -> list[Int8Linear]:
    integer = []
    for name, linear in _float_linears(backbone).items():
        columns_K = _outliers(largest[name], share) if name in largest else torch.empty(0, dtype=torch.long)
        integer.append(Int8Linear.of(linear, columns_K, engine))
        backbone.model.set_submodule(name, integer[-1])
    return integer


def _outliers(largest_I: Tensor, share: float) -> Tensor:
    return largest_I.topk(math.ceil(share * len(largest_I))).indices.sort().values


def _use(integer: list[Int8Linear], engine: Engine) -> None:
    for module in integer:
        module.use(engine)


def _timed(
    backbone: Backbone, integer: list[Int8Linear], engines: list[Engine], texts: Sequence[TokenIds]
) -> dict[str, float]:
    """Measures the milliseconds of the texts with each engine; the engines take turns."""
    taken = {engine.name: math.inf for engine in engines}
    for _ in range(ROUNDS):
        for engine in engines:
            _use(integer, engine)
            taken[engine.name] = min(taken[engine.name], _milliseconds(backbone, texts))
    return taken


def _milliseconds(backbone: Backbone, texts: Sequence[TokenIds]) -> float:
    """Measures the faster of two passes: the first one packs weights and fills caches."""
    batches = [backbone.batch([texts[index] for index in group]) for group in backbone.batches(texts)]
    taken = []
    with evaluating(backbone):
        for _ in range(2):
            begin = time.perf_counter()
            for batch in batches:
                backbone(batch)
            taken.append(time.perf_counter() - begin)
    return 1000 * min(taken)


def _timed_texts(texts: Sequence[TokenIds]) -> list[TokenIds]:
    """Returns as many of the texts as have `TIMED_TOKENS` tokens together, one at least."""
    timed: list[TokenIds] = []
    for text in texts:
        timed.append(text)
        if sum(map(len, timed)) >= TIMED_TOKENS:
            break
    return timed
