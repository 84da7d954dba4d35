"""Placing adapters through PEFT, with a check that they stand in the chosen layers and nowhere else."""

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from layersel.backbone.backbone import Backbone
from layersel.selection.selection import Selection


def place(backbone: Backbone, selection: Selection, config: PeftConfig, generator: torch.Generator) -> PeftModel:
    """Puts the adapters of `config` into the model of `backbone`; all other parameters are frozen.

    PEFT draws the initial values from the global generator, which is set from `generator` and restored.

    Raises:
        RuntimeError: The adapted layers are not the chosen ones, or modules have other ranks than they were given.
    """
    seed = int(torch.randint(2**31, (), generator=generator))
    with torch.random.fork_rng(), without_peft_notes():
        torch.manual_seed(seed)
        adapted = get_peft_model(backbone.model, config)
    check_placement(backbone, selection.layers)
    if selection.allocation is not None and isinstance(config, LoraConfig):
        check_ranks(backbone, selection.allocation.ranks, config)
    return adapted


@contextmanager
def without_peft_notes() -> Iterator[None]:
    """Hides PEFT's warnings about its own code (a deprecated property, a Conv1D) and what is checked here anyway."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False", category=UserWarning)
        warnings.filterwarnings("ignore", message="Found missing adapter keys", category=UserWarning)
        yield


def adapted_layers(backbone: Backbone) -> list[int]:
    """Returns the indices of the layers with an adapter inside, or with parameters of their own that are trained.

    In a model that nothing has been placed in, and whose parameters nobody has frozen, there are none.
    """
    inside = {id(parameter) for parameter in backbone.layers.parameters()}
    untouched = any(p.requires_grad for p in backbone.parameters() if id(p) not in inside)
    return [
        index
        for index, layer in enumerate(backbone.layers)
        if _adapters(layer) or (not untouched and any(p.requires_grad for p in layer.parameters()))
    ]


def check_placement(backbone: Backbone, chosen: list[int]) -> None:
    """Compares the layers that carry an adapter, and the total number of adapters, with the chosen layers.

    Raises:
        RuntimeError: They differ; the message has both.
    """
    found = adapted_layers(backbone)
    inside = sum(_adapters(layer) for layer in backbone.layers)
    if found != chosen or inside != _adapters(backbone.model):
        outside = _adapters(backbone.model) - inside
        raise RuntimeError(f"adapters stand in layers {found} and {outside} outside of them, but {chosen} were chosen")


def check_ranks(backbone: Backbone, given: Mapping[str, int], config: LoraConfig) -> None:
    """Compares the rank and the scale of each LoRA module with what it was given.

    The scale is alpha/r of the configuration, or with rsLoRA alpha over the root of the module's own rank.

    Raises:
        RuntimeError: They differ; the message has both for the first module.
    """
    found = {name: part for name, part in backbone.model.named_modules() if isinstance(part, LoraLayer)}
    if found.keys() != given.keys():
        raise RuntimeError(f"{sorted(found.keys() ^ given.keys())} are adapted or were given a rank, but not both")
    for name, layer in found.items():
        rank = given[name]
        scale = config.lora_alpha / (math.sqrt(rank) if config.use_rslora else config.r)
        placed = (len(layer.lora_A["default"].weight), layer.scaling["default"])
        if placed[0] != rank or not math.isclose(placed[1], scale, rel_tol=1e-9):
            raise RuntimeError(f"{name} has rank and scale {placed}, but was given {(rank, scale)}")


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Returns the numbers of trainable and of all parameters; shared ones count once, 4-bit ones one by one."""
    sizes = [(_size(parameter), parameter.requires_grad) for parameter in model.parameters()]
    return sum(size for size, trainable in sizes if trainable), sum(size for size, _ in sizes)


def _size(parameter: nn.Parameter) -> int:
    packed = getattr(parameter, "quant_state", None)
    return parameter.numel() if packed is None else int(packed.shape.numel())


def _adapters(module: nn.Module) -> int:
    return sum(isinstance(part, BaseTunerLayer) for part in module.modules())
