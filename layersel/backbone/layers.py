"""Finds the layers of a Hugging Face transformer, and their projections and linear modules."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from layersel.backbone.projection_names import PROJECTIONS
from layersel.errors import UserError, one_of

_PATTERNS = {name: re.compile(rf"(^|\.)({pattern})$") for name, pattern in PROJECTIONS.items()}


def find_layers(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """Finds the stack of transformer layers; returns its module name in `model`, and the stack.

    Raises:
        UserError: The model has no single stack of `config.num_hidden_layers` layers (an encoder-decoder, say).
    """
    depth = getattr(model.config, "num_hidden_layers", None)
    if not getattr(model.config, "is_encoder_decoder", False):
        for name, module in model.named_modules():
            if isinstance(module, nn.ModuleList) and len(module) == depth:
                return name, module
    raise UserError(
        f"model: expected an encoder or a decoder with one stack of layers, but got {type(model).__name__} "
        "in which none was found; give its encoder or decoder alone"
    )


def find_projections(model: PreTrainedModel) -> list[dict[str, str]]:
    """Finds, for each layer, the full module name in `model` of each projection that it has.

    Projections carry the standard names query, key, value, output, gate, up and down. Where the architecture fuses
    some of them in one module, that module's name stands under each.
    """
    stack, layers = find_layers(model)
    return [_projections_of(layer, f"{stack}.{index}") for index, layer in enumerate(layers)]


@runtime_checkable
class IntegerLinear(Protocol):
    """A linear module that keeps its weight as integers, and says what they stand for."""

    def dequantised(self) -> Tensor:
        """Returns the weight, outputs × inputs, in floating point."""


def find_linear(model: PreTrainedModel) -> list[dict[str, nn.Module]]:
    """Finds, for each layer, its linear modules by the full names that they have without adapters.

    For an adapted module this is the pretrained part. Cross-attention, through which no text passes, is left out.
    """
    stack, layers = find_layers(model)
    return [dict(_linear_in(layer, f"{stack}.{index}")) for index, layer in enumerate(layers)]


def linear_modules(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Finds the linear modules of all layers, by the names that `find_linear` gives them."""
    return {name: module for linears in find_linear(model) for name, module in linears.items()}


def _linear_in(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(module, BaseTunerLayer):
        module = module.get_base_layer()
    if isinstance(module, nn.Linear | Conv1D | IntegerLinear):
        yield name, module
        return
    for child, part in module.named_children():
        if "cross" not in child:
            yield from _linear_in(part, f"{name}.{child}")


def weight_OI(linear: nn.Module) -> Tensor:  # noqa: N802 - a shape suffix
    """Returns the weight of a linear module as outputs × inputs.

    It is the weight itself, or for Conv1D, which keeps it turned, a view of it; a copy only where it is integers.
    """
    if isinstance(linear, IntegerLinear):
        return linear.dequantised()
    weight: Tensor = linear.weight  # type: ignore[assignment]
    return weight.T if isinstance(linear, Conv1D) else weight


def modules_of(named: Mapping[str, str], projections: Sequence[str]) -> list[str]:
    """Returns the full module names of these projections of one layer, which `find_projections` has `named`.

    Raises:
        UserError: The layer has no such projection, or fuses it with one that is not asked for.
    """
    for projection in projections:
        if projection not in PROJECTIONS:
            raise one_of("projection", projection, PROJECTIONS)
        if projection not in named:
            raise one_of("projection", projection, named, "this model has no other")
        fused = [name for name, module in named.items() if module == named[projection]]
        if not set(fused) <= set(projections):
            raise UserError(
                f"projection: this model computes {', '.join(fused)} in one module ({named[projection]}), "
                f"but got {', '.join(projections)}; name all of them or none"
            )
    return [named[projection] for projection in projections]


def _projections_of(layer: nn.Module, prefix: str) -> dict[str, str]:
    linear = [
        name for name, module in layer.named_modules() if isinstance(module, nn.Linear | Conv1D) and "cross" not in name
    ]
    found = {}
    for projection, pattern in _PATTERNS.items():
        for name in linear:
            if pattern.search(name):
                found[projection] = f"{prefix}.{name}"
    return found
