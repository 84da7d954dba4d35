"""Reading adapters, checked against the model before they are put into it."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel, get_peft_model_state_dict
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn
from transformers.pytorch_utils import Conv1D

from layersel.adapters.full_placed import LAYERS, FullPlaced
from layersel.adapters.nf4 import quantise_layers
from layersel.adapters.placed import LoraPlaced, PeftPlaced, Placed
from layersel.adapters.placement import adapted_layers, widths, without_peft_notes
from layersel.adapters.qlora_placed import NF4, QloraPlaced
from layersel.adapters.saving import KEY
from layersel.backbone.backbone import Backbone
from layersel.errors import UserError

Shapes = dict[str, tuple[int, ...]]

# A tensor's name in a weight file: the adapted module, then what belongs to the adapter.
TENSOR = re.compile(re.escape(KEY) + r"(?P<module>.+)\.(?P<part>(lora|vera|ia3|oft|shira|fourierft)_.+)")


def load_adapter(backbone: Backbone, folder: Path) -> Placed:
    """Put a saved adapter into the pretrained model of `backbone`, frozen.

    Raises:
        UserError: No adapter there, or one of another model: a module it adapts is missing or has another shape.
    """
    return _load_full(backbone, folder) if (folder / LAYERS).is_file() else _load_peft(backbone, folder)


def _load_peft(backbone: Backbone, folder: Path) -> PeftPlaced:
    for name in ("adapter_config.json", SAFETENSORS_WEIGHTS_NAME):
        if not (folder / name).is_file():
            raise UserError(f"adapter: expected a PEFT adapter folder, but {str(folder)!r} has no {name}")
    nf4 = folder / NF4
    with _reading(folder):
        config = PeftConfig.from_pretrained(str(folder))
        shapes = _shapes(folder / SAFETENSORS_WEIGHTS_NAME)
        double_quant = bool(json.loads(nf4.read_text(encoding="utf-8"))["double_quant"]) if nf4.is_file() else None
    _check_modules(backbone, shapes, folder)
    _check_patterns(config, shapes, folder)
    if double_quant is not None:
        quantise_layers(backbone, double_quant)
    with _reading(folder), without_peft_notes():
        adapted = PeftModel.from_pretrained(backbone.model, str(folder), config=config, is_trainable=False)
    _check_loaded(adapted, shapes, folder)
    backbone.requires_grad_(False)
    layers = adapted_layers(backbone)
    if double_quant is not None:
        return QloraPlaced(backbone, layers, adapted, double_quant)
    low_rank = config.peft_type == "LORA" and not config.use_dora
    return (LoraPlaced if low_rank else PeftPlaced)(backbone, layers, adapted)


def _load_full(backbone: Backbone, folder: Path) -> FullPlaced:
    with _reading(folder):
        trained = load_file(folder / LAYERS)
    present = dict(backbone.model.named_parameters())
    for name, value in trained.items():
        if name not in present:
            raise _another_model(folder, f"it has {name}, which this model lacks")
        if present[name].shape != value.shape:
            shapes = f"{tuple(present[name].shape)} here, but {tuple(value.shape)} in the adapter"
            raise _another_model(folder, f"{name} has the shape {shapes}")
    own = [{id(parameter) for parameter in layer.parameters()} for layer in backbone.layers]
    layers = [index for index, ids in enumerate(own) if any(id(present[name]) in ids for name in trained)]
    backbone.requires_grad_(False)
    placed = FullPlaced(backbone, layers)
    with torch.no_grad():
        for name, value in trained.items():
            present[name].copy_(value)
    return placed


def _shapes(path: Path) -> Shapes:
    with safe_open(str(path), framework="pt") as file:
        return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 - not a dict


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """What a broken file makes the libraries raise becomes one line."""
    try:
        yield
    except (ValueError, TypeError, KeyError, OSError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"adapter: {str(folder)!r} cannot be read as a PEFT adapter ({reason})") from error


def _check_modules(backbone: Backbone, shapes: Shapes, folder: Path) -> None:
    modules = dict(backbone.model.named_modules())
    for key, shape in shapes.items():
        tensor = TENSOR.fullmatch(key)
        if tensor is None:
            continue
        name = tensor["module"]
        module = modules.get(name)
        if not isinstance(module, nn.Linear | Conv1D):
            raise _another_model(folder, f"it adapts {name}, which this model lacks")
        outputs, inputs = widths(module)
        by_part = {"lora_A.weight": (inputs, -1), "lora_B.weight": (outputs, 0), "vera_lambda_b": (outputs, 0)}
        expected, axis = by_part.get(tensor["part"], (shape[0], 0))
        if shape[axis] != expected:
            raise _another_model(folder, f"{name} has a width of {expected} here, but of {shape[axis]} in the adapter")


def _check_patterns(config: PeftConfig, shapes: Shapes, folder: Path) -> None:
    """PEFT only warns of a rank or scale for a module that is not there."""
    names = {tensor["module"] for key in shapes if (tensor := TENSOR.fullmatch(key)) is not None}
    patterns = {*(getattr(config, "rank_pattern", None) or {}), *(getattr(config, "alpha_pattern", None) or {})}
    for pattern in sorted(patterns):
        if not any(re.fullmatch(rf"(.*\.)?({pattern})", name) for name in names):
            raise UserError(f"adapter: {str(folder)!r} sets a rank or alpha for {pattern}, which it does not adapt")


def _check_loaded(adapted: PeftModel, shapes: Shapes, folder: Path) -> None:
    placed = {key for key in get_peft_model_state_dict(adapted, save_embedding_layers=False) if TENSOR.fullmatch(key)}
    stored = {key for key in shapes if TENSOR.fullmatch(key)}
    if placed != stored:
        raise _another_model(folder, f"{len(placed ^ stored)} of its tensors have no counterpart")


def _another_model(folder: Path, why: str) -> UserError:
    return UserError(f"adapter: {str(folder)!r} belongs to another model: {why}; give the model it was trained on")
