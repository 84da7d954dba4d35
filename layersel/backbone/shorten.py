"""Takes whole layers out of a model; what is left is a shorter model of its own."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from layersel.backbone.backbone import Backbone
from layersel.backbone.layers import find_layers, find_projections
from layersel.errors import UserError

NUMBER = "layer_idx"
"""The attribute in which transformers keeps a module's index in the stack."""


def drop_layers(backbone: Backbone, dropped: Sequence[int]) -> None:
    """Takes the layers with these indices out of the model of `backbone`; the others run in their order.

    The configuration is shortened too, so that the model is saved and loaded like any other.

    Raises:
        UserError: There is no such layer, none would be left, the model has adapters, or its architecture treats some
            layer by its position, so that the shorter model would not be the one its configuration describes.
    """
    _check_indices(backbone, dropped)
    if not dropped:
        return
    model = backbone.model
    if any(isinstance(module, BaseTunerLayer) for module in model.modules()):
        raise UserError("model: expected one without adapters to drop layers from; merge the adapters first")
    kept = [index for index in range(backbone.n_layers) if index not in dropped]
    shorter = _described(model, kept)
    _check_positions(model, shorter, kept)
    for index in sorted(set(dropped), reverse=True):
        del backbone.layers[index]
    for name, described in shorter.named_modules():
        if hasattr(described, NUMBER):
            setattr(backbone.layers.get_submodule(name), NUMBER, getattr(described, NUMBER))
    _shorten(model.config, kept)
    backbone.projections = find_projections(model)


def _check_indices(backbone: Backbone, dropped: Sequence[int]) -> None:
    beyond = [index for index in dropped if not 0 <= index < backbone.n_layers]
    if beyond:
        raise UserError(f"layers to drop: expected indices from 0 to {backbone.n_layers - 1}, but got {beyond}")
    if len(set(dropped)) == backbone.n_layers:
        raise UserError(f"layers to drop: expected fewer than all {backbone.n_layers}; keep at least one")


def _described(model: PreTrainedModel, kept: Sequence[int] | None = None) -> nn.ModuleList:
    """Builds the layers, without memory for weights, that the shortened configuration of `model` describes."""
    config = copy.deepcopy(model.config)
    if kept is not None:
        _shorten(config, kept)
    with torch.device("meta"):
        return find_layers(type(model)(config))[1]


def _shorten(config: PretrainedConfig, kept: Sequence[int]) -> None:
    """Shortens the depth, and every list with one entry a layer (`layer_types` and the like)."""
    depth = config.num_hidden_layers
    config.num_hidden_layers = len(kept)
    for name, value in vars(config).copy().items():
        if "layer" in name and isinstance(value, list | tuple) and len(value) == depth:
            setattr(config, name, [value[index] for index in kept])


def _check_positions(model: PreTrainedModel, shorter: nn.ModuleList, kept: Sequence[int]) -> None:
    """Checks that each kept layer is built at its new position as it was at its old one."""
    whole = _described(model)
    for new, old in enumerate(kept):
        if _structure(shorter[new]) != _structure(whole[old]):
            raise UserError(
                f"layers to drop: {type(model).__name__} builds its layer {new} unlike its layer {old}, which would "
                f"take that place; keep layer {new}"
            )


def _structure(layer: nn.Module) -> list[tuple[str, type, dict[str, Any]]]:
    """Returns name, class and settings of each module inside, except its index in the stack."""
    return [
        (
            name,
            type(module),
            {
                key: value
                for key, value in vars(module).items()
                if isinstance(value, int | float | str | None) and key != NUMBER
            },
        )
        for name, module in layer.named_modules()
    ]
