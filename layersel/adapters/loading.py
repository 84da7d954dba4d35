"""Reading adapters, checked against the model before they are put into it."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel, get_peft_model_state_dict
from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn
from transformers.pytorch_utils import Conv1D

from layersel.adapters.full_placed import LAYERS, FullPlaced
from layersel.adapters.nf4 import quantise_layers
from layersel.adapters.placed import LoraPlaced, PeftPlaced, Placed
from layersel.adapters.placement import adapted_layers, without_peft_notes
from layersel.adapters.qlora_placed import NF4, QloraPlaced
from layersel.adapters.saving import KEY
from layersel.backbone.backbone import Backbone
from layersel.backbone.initialisations import changing_initialisation
from layersel.backbone.layers import widths
from layersel.errors import UserError

Shapes = dict[str, tuple[int, ...]]
"""The shapes of tensors, by name."""

UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, ImportError, OSError, RuntimeError, SafetensorError)
"""What the libraries raise for broken files."""
LOW_RANK = {"lora_A.weight", "lora_B.weight"}
"""The tensors of a module whose change is B·A, and nothing else."""


def load_adapter(backbone: Backbone, folder: Path) -> Placed:
    """Puts a saved adapter into the pretrained model of `backbone`, frozen.

    It may be of any of PEFT's families that stand on linear modules, also of one that no kind here places.

    Raises:
        UserError: No adapter there, or one of another model: a module it adapts is missing or has another shape; or
            tensors that do not belong to the adapter of a linear module.
    """
    return _load_full(backbone, folder) if (folder / LAYERS).is_file() else _load_peft(backbone, folder)


def _load_peft(backbone: Backbone, folder: Path) -> PeftPlaced:
    for name in ("adapter_config.json", SAFETENSORS_WEIGHTS_NAME):
        if not (folder / name).is_file():
            raise UserError(f"adapter: expected a PEFT adapter folder, but {str(folder)!r} has no {name}")
    nf4 = folder / NF4
    with _reading(folder):
        config = PeftConfig.from_pretrained(str(folder))
        _check_base(config, folder)
        shapes = _shapes(folder / SAFETENSORS_WEIGHTS_NAME)
        double_quant = bool(json.loads(nf4.read_text(encoding="utf-8"))["double_quant"]) if nf4.is_file() else None
        adapted_shapes = _by_module(config, shapes, folder)
        _check_modules(backbone, adapted_shapes, folder)
        _check_patterns(config, list(adapted_shapes), folder)
    if double_quant is not None:
        quantise_layers(backbone, double_quant)
    with _reading(folder), without_peft_notes():
        adapted = PeftModel.from_pretrained(backbone.model, str(folder), config=config, is_trainable=False)
    _check_loaded(adapted, shapes, folder)
    backbone.requires_grad_(False)
    layers = adapted_layers(backbone)
    if double_quant is not None:
        return QloraPlaced(backbone, layers, adapted, double_quant)
    low_rank = all(set(parts) == LOW_RANK for parts in adapted_shapes.values())
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
    """Turns what the libraries raise for a broken file into one line."""
    try:
        yield
    except UserError:
        raise
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"adapter: {str(folder)!r} cannot be read as a PEFT adapter ({reason})") from error


def _by_module(config: PeftConfig, shapes: Shapes, folder: Path) -> dict[str, Shapes]:
    """Returns the shapes of the tensors of each adapted module, as PEFT names those of this family of adapters.

    Tensors that modules share stand outside of the model and are left out.

    Raises:
        UserError: A tensor is not of this family, or none is.
    """
    prefix, family = PEFT_TYPE_TO_PREFIX_MAPPING.get(config.peft_type), getattr(config.peft_type, "value", None)
    found: dict[str, Shapes] = {}
    for key, shape in shapes.items():
        if not key.startswith(KEY):
            continue
        module, separator, part = key.removeprefix(KEY).partition(f".{prefix}")
        if not separator:
            raise UserError(f"adapter: {str(folder)!r} has the tensor {key}, which is none of a {family} adapter")
        found.setdefault(module, {})[f"{prefix}{part}"] = shape
    if not found:
        raise UserError(f"adapter: {str(folder)!r} has no tensor of a {family} adapter of some module")
    return found


def _check_base(config: PeftConfig, folder: Path) -> None:
    """Raises a `UserError` for an adapter for which PEFT changes the pretrained weights, anew at each loading."""
    initial = changing_initialisation(config)
    if initial is not None:
        raise UserError(
            f"adapter: {str(folder)!r} has init_lora_weights={initial!r}, by which PEFT changes the pretrained weights "
            "each time that it loads it; save it as a plain LoRA, by path_initial_model_for_weight_conversion"
        )


def _check_modules(backbone: Backbone, adapted_shapes: dict[str, Shapes], folder: Path) -> None:
    modules = dict(backbone.model.named_modules())
    for name, shapes in adapted_shapes.items():
        if name not in modules:
            raise _another_model(folder, f"it adapts {name}, which this model lacks")
        module = modules[name]
        if not isinstance(module, nn.Linear | Conv1D):
            kind = type(module).__name__
            raise UserError(f"adapter: {str(folder)!r} adapts {name}, a {kind}; expected linear modules only")
        outputs, inputs = widths(module)
        expected = {"lora_A.weight": (1, inputs), "lora_B.weight": (0, outputs), "vera_lambda_b": (0, outputs)}
        for part, (axis, width) in expected.items():
            found = shapes.get(part, ())[axis : axis + 1]
            if found not in ((), (width,)):
                raise _another_model(folder, f"{name} has a width of {width} here, but of {found[0]} in the adapter")


def _check_patterns(config: PeftConfig, names: list[str], folder: Path) -> None:
    """Raises a `UserError` for a rank or scale of a module that is not adapted, of which PEFT only warns.

    AdaLoRA names the parameter whose entries are left, not its module.
    """
    patterns = {*(getattr(config, "rank_pattern", None) or {}), *(getattr(config, "alpha_pattern", None) or {})}
    for pattern in sorted(pattern.removesuffix(".lora_E") for pattern in patterns):
        if not any(re.fullmatch(rf"(.*\.)?({pattern})", name) for name in names):
            raise UserError(f"adapter: {str(folder)!r} sets a rank or alpha for {pattern}, which it does not adapt")


def _check_loaded(adapted: PeftModel, shapes: Shapes, folder: Path) -> None:
    without = set(get_peft_model_state_dict(adapted, save_embedding_layers=False)) ^ set(shapes)
    if without:
        raise _another_model(folder, f"{len(without)} of its tensors have no counterpart, as {min(without)}")


def _another_model(folder: Path, why: str) -> UserError:
    return UserError(f"adapter: {str(folder)!r} belongs to another model: {why}; give the model it was trained on")
