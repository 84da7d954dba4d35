"""Adapter files: plain PEFT folders, checked against the model before they are loaded."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peft import PeftConfig, PeftModel
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers.pytorch_utils import Conv1D

from layersel.adapters.placement import without_peft_notes
from layersel.backbone import Backbone
from layersel.errors import UserError
from layersel.files import atomic_folder


def save_adapter(adapted: PeftModel, folder: Path) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors`, as `PeftModel.from_pretrained` reads them."""
    with atomic_folder(folder) as draft:
        adapted.save_pretrained(str(draft), safe_serialization=True, save_embedding_layers=False)


def load_adapter(backbone: Backbone, folder: Path) -> PeftModel:
    """Put a saved adapter into the model of `backbone`, frozen.

    Raises:
        UserError: No adapter there, or one of another model: a module it adapts is missing or has another shape.
    """
    for name in ("adapter_config.json", SAFETENSORS_WEIGHTS_NAME):
        if not (folder / name).is_file():
            raise UserError(f"adapter: expected a PEFT adapter folder, but {str(folder)!r} has no {name}")
    with _reading(folder):
        config = PeftConfig.from_pretrained(str(folder))
        with safe_open(str(folder / SAFETENSORS_WEIGHTS_NAME), framework="pt") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 - not a dict
    _check_modules(backbone, shapes, folder)
    with _reading(folder), without_peft_notes():
        adapted = PeftModel.from_pretrained(backbone.model, str(folder), config=config, is_trainable=False)
    _check_loaded(adapted, shapes, folder)
    return adapted


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """What a broken file makes the libraries raise becomes one line."""
    try:
        yield
    except (ValueError, TypeError, KeyError, OSError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"adapter: {str(folder)!r} cannot be read as a PEFT adapter ({reason})") from error


def _check_modules(backbone: Backbone, shapes: dict[str, tuple[int, ...]], folder: Path) -> None:
    modules = dict(backbone.model.named_modules())
    for key, shape in shapes.items():
        if ".lora_A." not in key and ".lora_B." not in key:
            continue
        name, _, part = key.removeprefix("base_model.model.").partition(".lora_")
        module = modules.get(name)
        if not isinstance(module, nn.Linear | Conv1D):
            raise _another_model(folder, f"it adapts {name}, which this model lacks")
        widths = tuple(module.weight.shape)
        outputs, inputs = widths[::-1] if isinstance(module, Conv1D) else widths
        expected, got = (inputs, shape[1]) if part.startswith("A") else (outputs, shape[0])
        if got != expected:
            raise _another_model(folder, f"{name} has a width of {expected} here, but of {got} in the adapter")


def _check_loaded(adapted: PeftModel, shapes: dict[str, tuple[int, ...]], folder: Path) -> None:
    placed = {key.replace(".default", "") for key in adapted.state_dict() if ".lora_" in key}
    stored = {key for key in shapes if ".lora_" in key}
    if placed != stored:
        raise _another_model(folder, f"{len(placed ^ stored)} of its tensors have no counterpart")


def _another_model(folder: Path, why: str) -> UserError:
    return UserError(f"adapter: {str(folder)!r} belongs to another model: {why}; give the model it was trained on")
