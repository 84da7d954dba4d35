"""Dynamic int8: the linear layers inside the blocks become integer ones, calibrated on a few texts."""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from layersel.backbone.backbone import Backbone
from layersel.backbone.layers import linear_modules, weight_OI
from layersel.compression.quantisation.engines import ENGINES, usable_engines
from layersel.compression.quantisation.int8_linear import Int8Linear
from layersel.compression.quantisation.race import Race, race
from layersel.errors import UserError


def to_int8(backbone: Backbone, largest: dict[str, Tensor], share: float, engine: str) -> Race:
    """Replaces the linear layers inside the blocks by integer ones, in place.

    Args:
        backbone: A plain model on the CPU.
        largest: The largest magnitudes that `watched_columns` has found.
        share: The share of input columns, those with the largest entries, to keep in float32.
        engine: A name in `ENGINES`, or `auto`: the one that is fastest on the largest of the layers.

    Returns:
        How fast the engines are here; the winner is the one used.
    """
    linears = _float_linears(backbone)
    weight = max((weight_OI(linear) for linear in linears.values()), key=Tensor.numel).detach()
    outcome = race(weight, _outliers(weight.shape[1], share), usable_engines(engine))
    for name, linear in linears.items():
        columns_K = torch.empty(0, dtype=torch.long)
        if name in largest:
            columns_K = largest[name].topk(_outliers(len(largest[name]), share)).indices.sort().values
        backbone.model.set_submodule(name, Int8Linear.of(linear, columns_K, ENGINES[outcome.winner]))
    return outcome


def _outliers(inputs: int, share: float) -> int:
    return math.ceil(share * inputs)


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
