"""Models as files: plain Hugging Face folders, or folders with packed integers."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
import transformers
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel
from transformers import logging as transformers_logging
from transformers.pytorch_utils import Conv1D

from layersel.backbone.backbone import Backbone
from layersel.backbone.pretrained import Pretrained
from layersel.backbone.tied import tied_names
from layersel.compression.quantisation.engines import ENGINES, usable_engines
from layersel.compression.quantisation.int8_linear import Int8Linear
from layersel.compression.quantisation.integer_grid import IntegerGrid, pack, unpack
from layersel.compression.quantisation.quantised import Quantised
from layersel.compression.quantisation.race import race
from layersel.errors import UserError
from layersel.files import atomic_folder, write_json

WEIGHTS = "model.safetensors"
PACKED = "packed.safetensors"
MANIFEST = "quantised.json"
SCALES = ".scales"
INTEGERS = ".integers_OI"
UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, SafetensorError)


def save_model(backbone: Backbone, folder: Path, quantised: Quantised | None) -> None:
    """Writes the model of `backbone`, pruned, shortened or quantised as it may be, without its adapters.

    A float model becomes a plain Hugging Face folder. A quantised one has its integers, two of 4 bits in a byte, and
    their scales in `packed.safetensors`, everything else there in float32, and in `quantised.json` what is packed how.

    Raises:
        RuntimeError: Weights have left their grid since they were quantised.
    """
    model: PreTrainedModel = backbone.model
    tied = tied_names(model)
    tensors = {name: own for name, own in _without_adapters(model).items() if name not in tied}
    with atomic_folder(folder) as draft:
        model.config.save_pretrained(draft)
        if backbone.tokenizer is not None:
            backbone.tokenizer.save_pretrained(draft)
        if quantised is None:
            save_file(tensors, draft / WEIGHTS, metadata={"format": "pt"})
            return
        grids = named_grids(model, quantised.grids)
        for name, grid in grids.items():
            tensors |= {name: _packed(model, name, tensors[name], grid), name + SCALES: grid.scales_O}
        save_file(tensors, draft / PACKED)
        bits = {name: grid.bits for name, grid in grids.items()}
        write_json(draft / MANIFEST, {"format": quantised.format, "bits": bits})


def named_grids(model: nn.Module, grids: Mapping[nn.Module, IntegerGrid]) -> dict[str, IntegerGrid]:
    """Returns the grids by the names that the weights have without adapters; those of dropped layers are left out."""
    names: dict[nn.Module, str] = {}
    for name, module in model.named_modules():
        plain = module.get_base_layer() if isinstance(module, BaseTunerLayer) else module
        names.setdefault(plain, name)  # the adapted module's, before that of the plain one within it
    return {f"{names[module]}.weight": grid for module, grid in grids.items() if module in names}


def load_model(folder: Path, pretrained: Pretrained, auto_class: str = "AutoModel") -> Backbone:
    """Loads the model that `save_model` wrote; it gives the same vectors, and the same logits if it has a head.

    Args:
        folder: The model's folder.
        pretrained: How its texts become vectors; its `path` is not looked at.
        auto_class: The class of transformers that loads it.

    Raises:
        UserError: The folder is damaged, or holds something else.
    """
    if not (folder / MANIFEST).is_file():
        return replace(pretrained, path=str(folder.resolve()), revision="main").load(auto_class)
    with _reading(folder):
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        model = _build(folder, load_file(folder / PACKED), manifest["bits"], auto_class)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return pretrained.backbone(model, tokenizer)


def _without_adapters(model: PreTrainedModel) -> dict[str, Tensor]:
    """Returns the tensors by the names that they have without adapters, and leaves out those of the adapters."""
    adapted = [f"{name}." for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
    tensors = {}
    for name, tensor in model.state_dict().items():
        owner = next((prefix for prefix in adapted if name.startswith(prefix)), "")
        base = f"{owner}base_layer." if owner else ""
        if name.startswith(base):
            tensors[owner + name.removeprefix(base)] = (
                tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            )
    return tensors


def _packed(model: PreTrainedModel, name: str, weight: Tensor, grid: IntegerGrid) -> Tensor:
    module = model.get_submodule(name.removesuffix(".weight"))
    base = module.get_base_layer() if isinstance(module, BaseTunerLayer) else module
    integers_OI = grid.integers(_turned(base, weight))
    if integers_OI is None:
        raise RuntimeError(f"{name} has left its grid of {grid.bits} bits since it was quantised")
    return pack(integers_OI, grid.bits)


def _build(folder: Path, tensors: dict[str, Tensor], bits: dict[str, int], auto_class: str) -> PreTrainedModel:
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    kind = getattr(transformers, auto_class)._model_mapping[type(config)]
    with torch.device("meta"):
        blank = kind(config)
    inside = f"{blank.base_model_prefix}."
    if blank.base_model is blank and any(name.startswith(inside) for name in tensors):  # saved with a head
        tensors = {name.removeprefix(inside): own for name, own in tensors.items() if name.startswith(inside)}
        bits = {name.removeprefix(inside): width for name, width in bits.items()}
    for name, width in bits.items():
        module = blank.get_submodule(name.removesuffix(".weight"))
        inputs = _turned(module, module.weight).shape[1]
        grid = IntegerGrid(width, tensors.pop(name + SCALES))
        tensors[name] = _turned(module, grid.weights(unpack(tensors[name], width, inputs)))
    integer = _integer_modules(tensors)
    for name, module in integer.items():
        tensors |= _as_float(name, blank.get_submodule(name), module)
    model = _filled(kind, config, tensors)
    for name, module in integer.items():
        model.set_submodule(name, module)
    return model


def _integer_modules(tensors: dict[str, Tensor]) -> dict[str, Int8Linear]:
    """Takes the tensors of integer modules out of `tensors` and makes modules of them.

    They multiply with the fastest engine of this machine, where that of the machine that saved them may be slow.
    """
    names = [name.removesuffix(INTEGERS) for name in tensors if name.endswith(INTEGERS)]
    if not names:
        return {}
    engines = usable_engines()
    parts = {name: [tensors.pop(f"{name}.{part}") for part in Int8Linear.PARTS] for name in names}
    modules = {name: Int8Linear(engines[0], *tensors) for name, tensors in parts.items()}
    largest = max(modules.values(), key=lambda module: module.integers_OI.numel())
    fastest = ENGINES[race(largest.dequantised(), len(largest.columns_K), engines).winner]
    for module in modules.values():
        module.use(fastest)
    return modules


def _as_float(name: str, linear: nn.Module, module: Int8Linear) -> dict[str, Tensor]:
    """Returns the tensors that stand in for those of an integer module while the model is built around it."""
    weight = {f"{name}.weight": _turned(linear, module.dequantised())}
    return weight if linear.bias is None else weight | {f"{name}.bias": module.bias_O}


def _turned(module: nn.Module, weight: Tensor) -> Tensor:
    """Turns a weight from outputs × inputs to the module's own order, and back."""
    return weight.T.contiguous() if isinstance(module, Conv1D) else weight


def _filled(kind: type[PreTrainedModel], config: object, tensors: dict[str, Tensor]) -> PreTrainedModel:
    with _without_bars():
        model, loading = kind.from_pretrained(
            None, config=config, state_dict=tensors, dtype=torch.float32, output_loading_info=True
        )
    wrong = sorted(key for kind_of in ("missing_keys", "unexpected_keys") for key in loading[kind_of])
    if wrong:
        raise ValueError(f"{len(wrong)} tensors are missing or too many, such as {wrong[0]}")
    return model


@contextmanager
def _without_bars() -> Iterator[None]:
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Within the block, whatever a broken folder makes the libraries raise becomes one line."""
    try:
        yield
    except UserError:
        raise
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"model: {str(folder)!r} cannot be read as a quantised model ({reason})") from error
