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

_CROSS = re.compile("cross|encoder_attn|EncDec")
"""Finds the names of cross-attention, through which no text passes."""
_PATTERNS = {name: re.compile(rf"(^|\.)({pattern})$") for name, pattern in PROJECTIONS.items()}


def find_layers(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """Finds the stack of transformer layers; returns its module name in `model`, and the stack.

    Raises:
        UserError: The model has no single stack of `config.num_hidden_layers` layers, or does not read texts.
    """
    whole = getattr(model.config, "is_encoder_decoder", False) and hasattr(model.base_model, "encoder")
    depth = getattr(model.config, "num_hidden_layers", None)
    if not whole and model.main_input_name == "input_ids":
        stacks = {
            name: module
            for name, module in model.named_modules()
            if isinstance(module, nn.ModuleList) and len(module) == depth
        }
        parents = [name.rpartition(".")[0] for name in stacks]
        for (name, stack), parent in zip(stacks.items(), parents, strict=True):
            if parents.count(parent) == 1:  # XLM has four in one: the attentions of all layers, their norms, …
                return name, stack
    raise UserError(
        f"model: expected an encoder or a decoder of texts with one stack of layers, but got {type(model).__name__}, "
        + _why_not(model, whole)
    )


def _why_not(model: PreTrainedModel, whole: bool) -> str:
    if model.main_input_name != "input_ids":
        return f"which reads {model.main_input_name}"
    placed = "alone and put its adapter there, or into the whole by selection.within(model, NAME)"
    if whole:
        return f"which is an encoder and a decoder; give one of them {placed}"
    if model.config.get_text_config() is not model.config:
        return f"which is made of several models; give its language model {placed}"
    return "whose layers are shared or not in one list, so that no adapter could be put into a single one"


def find_projections(model: PreTrainedModel) -> list[dict[str, str]]:
    """Finds, for each layer, the full module name in `model` of each projection that it has.

    Projections carry the standard names query, key, value, output, gate, up and down. Where the architecture fuses
    some of them in one module, that module's name stands under each. An adapted module has the name that
    it has without its adapter.
    """
    stack, layers = find_layers(model)
    return [_projections_of(layer, f"{stack}.{index}") for index, layer in enumerate(layers)]


def namesakes(model: nn.Module, modules: Sequence[Mapping[str, str]]) -> list[str]:
    """Returns the full names of all other modules of `model` whose own name is also that of one of `modules`.

    Args:
        model: The model.
        modules: For each layer, the full module name of each of its projections.
    """
    known = {name for named in modules for name in named.values()}
    own = {name.rpartition(".")[2] for name in known}
    return [name for name, _ in model.named_modules() if name.rpartition(".")[2] in own and name not in known]


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
        if not _CROSS.search(child):
            yield from _linear_in(part, f"{name}.{child}")


def weight_OI(linear: nn.Module) -> Tensor:  # noqa: N802 - a shape suffix
    """Returns the weight of a linear module as outputs × inputs.

    It is the weight itself, or for Conv1D, which keeps it turned, a view of it; a copy only where it is integers.
    """
    if isinstance(linear, IntegerLinear):
        return linear.dequantised()
    return turned_OI(linear, linear.weight)  # type: ignore[arg-type]


def turned_OI(linear: nn.Module, matrix: Tensor) -> Tensor:  # noqa: N802 - a shape suffix
    """Returns a matrix of the shape of a linear module's weight, such as its gradient, as outputs × inputs: a view."""
    return matrix.T if isinstance(linear, Conv1D) else matrix


def widths(module: nn.Module) -> tuple[int, int]:
    """Returns the outputs and inputs of a linear module or a `Conv1D`.

    Example:
        >>> widths(nn.Linear(2, 3)), widths(Conv1D(3, 2))
        ((3, 2), (3, 2))
    """
    return (module.nf, module.nx) if isinstance(module, Conv1D) else (module.out_features, module.in_features)  # type: ignore[return-value]


def modules_of(named: Mapping[str, str], projections: Sequence[str]) -> list[str]:
    """Returns the full module names of these projections of one layer, which `find_projections` has `named`.

    Raises:
        UserError: The layer has no such projection, or fuses it with one that is not asked for.
    """
    if not named:
        raise UserError(
            "projections: expected a model whose projections layersel knows, but got one without such modules in a "
            "chosen layer; give PEFT the names of its modules yourself"
        )
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
    linear = [name for name, _ in _linear_in(layer, prefix)]
    return {projection: name for projection, pattern in _PATTERNS.items() for name in linear if pattern.search(name)}
