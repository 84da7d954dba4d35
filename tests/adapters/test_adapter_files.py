"""Saved adapters are plain PEFT folders; loading gives the same vectors or one line that says why not."""

import copy
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from models import ARCHITECTURES, WIDTH, bert, llama, padded, ragged, seeded, tiny
from peft import (
    AdaLoraConfig,
    BOFTConfig,
    LNTuningConfig,
    LoHaConfig,
    LoKrConfig,
    LoraConfig,
    PeftConfig,
    PeftModel,
    PrefixTuningConfig,
    VBLoRAConfig,
    get_peft_model,
)
from peft.tuners.tuners_utils import BaseTunerLayer
from placing import in_place
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import BertModel, LlamaModel, PreTrainedModel

from layersel.adapters.loading import load_adapter
from layersel.adapters.placement import adapted_layers, place
from layersel.adapters.saving import save_adapter
from layersel.backbone.backbone import Backbone
from layersel.errors import UserError
from layersel.selection.score import score_named
from layersel.selection.select import select_layers
from layersel.selection.selection import Selection

CHOSEN = [0, 2]
WEIGHTS = "adapter_model.safetensors"


def _selection(model: PreTrainedModel, layers: list[int]) -> Selection:
    score = score_named("manual", layers=layers)
    return select_layers(model, [padded(model, ragged())], score=score, pooling="mean")


def _save(model: PreTrainedModel, folder: Path, layers: list[int] = CHOSEN, roles: list[str] | None = None) -> Tensor:
    """Save an adapter with random weights, B too, and return the vectors that it gives."""
    generator = torch.Generator().manual_seed(0)
    selection = _selection(model, layers)
    backbone = Backbone(model, None, "mean")
    config = selection.lora_config(r=3, projections=roles or list(selection.modules[0]))
    adapted = place(backbone, selection, config, generator)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if ".lora_" in name:
                parameter.normal_(std=0.2, generator=generator)
        vectors = backbone(padded(model, ragged()))
    save_adapter(adapted, folder)
    return vectors


def _vectors(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        return Backbone(model, None, "mean")(padded(model, ragged()))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """An adapter of the tiny BERT."""
    _save(tiny("bert"), tmp_path / "adapter", roles=["query", "value"])
    return tmp_path / "adapter"


def _refusal(folder: Path, model: PreTrainedModel | None = None) -> str:
    """The one line with which loading is refused."""
    with pytest.raises(UserError) as refused:
        load_adapter(Backbone(tiny("bert") if model is None else model, None, "mean"), folder)
    message = str(refused.value)
    assert "\n" not in message
    assert message.startswith("adapter: ")
    return message


@dataclass(frozen=True)
class Saved:
    """An adapter of one architecture, and the vectors that the model gave with it."""

    name: str
    folder: Path
    vectors: Tensor


@pytest.fixture(scope="module", params=ARCHITECTURES)
def of_each(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """A saved adapter on all projections of each architecture."""
    folder = tmp_path_factory.mktemp("adapters") / request.param
    return Saved(request.param, folder, _save(tiny(request.param), folder))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_peft_itself_loads_a_saved_adapter(of_each: Saved) -> None:
    """`PeftModel.from_pretrained` on a fresh base gives the vectors of the model that was saved."""
    fresh = tiny(of_each.name)
    assert not torch.allclose(_vectors(fresh), of_each.vectors, atol=1e-3)
    PeftModel.from_pretrained(fresh, str(of_each.folder)).eval()
    torch.testing.assert_close(_vectors(fresh), of_each.vectors, rtol=0, atol=1e-6)


def test_a_loaded_adapter_gives_the_same_vectors(of_each: Saved) -> None:
    """In the same layers, frozen."""
    backbone = Backbone(tiny(of_each.name), None, "mean")
    placed = load_adapter(backbone, of_each.folder)
    torch.testing.assert_close(_vectors(backbone.model), of_each.vectors, rtol=0, atol=1e-6)
    assert adapted_layers(backbone) == placed.layers == CHOSEN
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_many_modules_are_saved_and_loaded(tmp_path: Path) -> None:
    """PEFT shortens lists of more than 20 module names; layers 1 and 11 must stay apart."""

    def deep() -> PreTrainedModel:
        return seeded(lambda: BertModel(bert(num_hidden_layers=14)))

    layers = [1, *range(10, 14)]
    expected = _save(deep(), tmp_path / "adapter", layers)
    backbone = Backbone(deep(), None, "mean")
    load_adapter(backbone, tmp_path / "adapter")
    assert adapted_layers(backbone) == layers
    torch.testing.assert_close(_vectors(backbone.model), expected, rtol=0, atol=1e-6)


def test_the_folder_holds_the_adapter_only(saved: Path) -> None:
    """The configuration, LoRA weights of two modules in each of two layers, and PEFT's model card."""
    assert {file.name for file in saved.iterdir()} == {"adapter_config.json", WEIGHTS, "README.md"}
    weights = load_file(saved / WEIGHTS)
    assert len(weights) == 2 * 2 * 2
    assert {tuple(weight.shape) for weight in weights.values()} == {(3, WIDTH), (WIDTH, 3)}


def test_saving_again_replaces_the_folder(saved: Path) -> None:
    """Whole: no file of the former adapter stays, and no draft beside it."""
    (saved / "stray").touch()
    before = load_file(saved / WEIGHTS)
    _save(tiny("bert"), saved, layers=[1], roles=["query"])
    assert set(load_file(saved / WEIGHTS)).isdisjoint(before)
    assert not (saved / "stray").exists()
    assert [path.name for path in saved.parent.iterdir()] == ["adapter"]


# What is no adapter


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    """With the file that was looked for."""
    assert "no adapter_config.json" in _refusal(tmp_path / "none")


@pytest.mark.parametrize("name", ["adapter_config.json", WEIGHTS])
def test_a_missing_file_is_refused(saved: Path, name: str) -> None:
    """Either of the two."""
    (saved / name).unlink()
    assert f"has no {name}" in _refusal(saved)


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"peft_type": "NONSENSE"}', "", '{"peft_type": "LORA", "r": "x"}']
)
def test_a_broken_configuration_is_refused(saved: Path, content: str) -> None:
    """No JSON, no mapping, no or an unknown method, a rank that is no number."""
    (saved / "adapter_config.json").write_text(content)
    assert str(saved) in _refusal(saved)


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_a_truncated_weight_file_is_refused(saved: Path, keep: int) -> None:
    """A copy that broke off."""
    (saved / WEIGHTS).write_bytes((saved / WEIGHTS).read_bytes()[:keep])
    assert "cannot be read as a PEFT adapter" in _refusal(saved)


def _reconfigure(folder: Path, **changes: object) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_rank_other_than_the_weights_is_refused(saved: Path) -> None:
    """The configuration of another adapter beside these weights."""
    _reconfigure(saved, r=5)
    assert "cannot be read as a PEFT adapter" in _refusal(saved)


def test_a_configuration_that_adapts_more_than_the_weights_is_refused(saved: Path) -> None:
    """PEFT would leave the other modules at their random start without a word."""
    _reconfigure(saved, target_modules=["query", "value"])
    assert "4 of its tensors have no counterpart" in _refusal(saved)


def test_weights_that_the_configuration_does_not_place_are_refused(saved: Path) -> None:
    """PEFT would ignore them with a warning."""
    weights = load_file(saved / WEIGHTS)
    extra = {key.replace("layer.0", "layer.1"): weight.clone() for key, weight in weights.items() if "layer.0" in key}
    save_file(weights | extra, saved / WEIGHTS)
    assert "4 of its tensors have no counterpart" in _refusal(saved)


@pytest.mark.parametrize("value", [None, 3, "x", [], {}, [1], -1, 1e9], ids=repr)
def test_any_broken_option_is_refused_in_one_line(saved: Path, value: object) -> None:
    """Or it decides nothing and the adapter is the same; PEFT raises whatever it stumbles on."""
    whole = json.loads((saved / "adapter_config.json").read_text())
    expected = load_adapter(Backbone(tiny("bert"), None, "mean"), saved).changes()
    lines: list[str] = []
    for name in set(whole) - {"lora_alpha", "use_rslora", "fan_in_fan_out", "alpha_pattern", "rank_pattern"}:
        (saved / "adapter_config.json").write_text(json.dumps(whole | {name: value}))
        try:
            found = load_adapter(Backbone(tiny("bert"), None, "mean"), saved).changes()
        except UserError as error:
            lines.append(str(error))
        else:
            assert all(torch.equal(found[module].dense, change.dense) for module, change in expected.items()), name
    assert [line for line in lines if "\n" in line] == []


# Other families of PEFT's

FAMILIES: list[PeftConfig] = [
    LoHaConfig(r=2, target_modules=["query", "value"]),
    LoKrConfig(r=2, target_modules=["query", "dense"]),
    BOFTConfig(boft_block_size=4, target_modules=["query"]),
    VBLoRAConfig(r=2, num_vectors=8, vector_length=16, target_modules=["query"]),  # with a tensor that modules share
]
NOT_ON_LINEAR_MODULES: list[tuple[PeftConfig, str]] = [
    (LNTuningConfig(target_modules=["LayerNorm"]), "adapts embeddings.LayerNorm, a LayerNorm; expected linear modules"),
    (LoraConfig(target_modules=["query", "word_embeddings"]), "word_embeddings, a Embedding; expected linear modules"),
    (LoraConfig(target_modules=["query"], bias="all"), "LayerNorm.bias, which is none of a LORA adapter"),
    (LoraConfig(target_modules=["query"], modules_to_save=["pooler"]), "pooler.dense.bias, which is none of a LORA"),
    (PrefixTuningConfig(num_virtual_tokens=2, task_type="FEATURE_EXTRACTION"), "has no tensor of a PREFIX_TUNING"),
]


def _family(config: PeftConfig) -> str:
    return str(config.peft_type.value)


def _save_family(config: PeftConfig, folder: Path) -> None:
    """Save an adapter of the tiny BERT with PEFT alone, random throughout."""
    get_peft_model(tiny("bert"), copy.deepcopy(config)).save_pretrained(str(folder), save_embedding_layers=False)
    generator = torch.Generator().manual_seed(0)
    weights = {
        key: torch.randn(weight.shape, generator=generator).mul_(0.3) if weight.is_floating_point() else weight
        for key, weight in load_file(folder / WEIGHTS).items()
    }
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("config", FAMILIES, ids=_family)
def test_a_family_without_a_kind_of_its_own_is_loaded_as_by_peft(config: PeftConfig, tmp_path: Path) -> None:
    """The vectors are those of `PeftModel.from_pretrained`; switched off, those of the pretrained model."""
    _save_family(config, tmp_path / "adapter")
    expected, backbone = tiny("bert"), Backbone(tiny("bert"), None, "mean")
    pretrained = _vectors(backbone.model)
    PeftModel.from_pretrained(expected, str(tmp_path / "adapter")).eval()
    placed = load_adapter(backbone, tmp_path / "adapter")
    vectors = _vectors(backbone.eval().model)
    assert torch.equal(vectors, _vectors(expected))
    assert not torch.allclose(vectors, pretrained, atol=1e-2)
    with placed.disabled():
        assert torch.equal(_vectors(backbone.model), pretrained)
    assert len(placed.changes()) == sum(isinstance(part, BaseTunerLayer) for part in backbone.modules())
    placed.merge()
    torch.testing.assert_close(_vectors(backbone.model), vectors, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("config", FAMILIES, ids=_family)
def test_a_family_without_a_kind_of_its_own_is_refused_on_another_model(config: PeftConfig, tmp_path: Path) -> None:
    """By the names of its modules, and by their shapes."""
    _save_family(config, tmp_path / "adapter")
    assert "which this model lacks" in _refusal(tmp_path / "adapter", tiny("llama"))
    _refusal(tmp_path / "adapter", seeded(lambda: BertModel(bert(hidden_size=64, intermediate_size=96))))


def test_an_adalora_of_pefts_own_is_loaded_after_its_ranks_were_allocated(tmp_path: Path) -> None:
    """Its rank pattern names parameters, where that of any other adapter names modules."""
    config = AdaLoraConfig(
        init_r=4, target_r=2, tinit=1, tfinal=1, deltaT=1, total_step=6, target_modules=["query", "value"]
    )
    adapted = get_peft_model(tiny("bert"), config)
    generator = torch.Generator().manual_seed(0)
    for step in range(6):
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.data += torch.randn(parameter.shape, generator=generator)
                parameter.grad = torch.randn(parameter.shape, generator=generator)
        adapted.base_model.update_and_allocate(step)
    adapted.save_pretrained(str(tmp_path / "adapter"))
    assert any(name.endswith(".lora_E") for name in adapted.peft_config["default"].rank_pattern)
    expected, backbone = tiny("bert"), Backbone(tiny("bert"), None, "mean")
    PeftModel.from_pretrained(expected, str(tmp_path / "adapter")).eval()
    load_adapter(backbone, tmp_path / "adapter")
    assert torch.equal(_vectors(backbone.eval().model), _vectors(expected))


@pytest.mark.parametrize("initial", ["pissa", "pissa_niter_4", "olora"])
def test_an_adapter_whose_loading_changes_the_pretrained_weights_is_refused(initial: str, tmp_path: Path) -> None:
    """Neither they nor what it has changed would be known any more; the random ones differ from loading to loading."""
    config = LoraConfig(target_modules=["query"], init_lora_weights=initial)
    get_peft_model(tiny("bert"), config).save_pretrained(str(tmp_path / "adapter"))
    assert f"has init_lora_weights='{initial}', by which PEFT changes" in _refusal(tmp_path / "adapter")


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    ("config", "expected"), NOT_ON_LINEAR_MODULES, ids=["norms", "embeddings", "biases", "modules", "prefix"]
)
def test_what_is_not_on_linear_modules_is_refused(config: PeftConfig, expected: str, tmp_path: Path) -> None:
    """Norms, embeddings, biases and whole modules that are trained too, and prefixes."""
    _save_family(config, tmp_path / "adapter")
    assert expected in _refusal(tmp_path / "adapter")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("base_model.model.", "", "has no tensor of a LORA adapter"),
        ("base_model.model.", "base_model.", "has no tensor of a LORA adapter"),
        (".lora_", ".hada_", "encoder.layer.0.attention.self.query.hada_A.weight, which is none of a LORA adapter"),
        (
            "layer.0.attention",
            "layer.attention",
            "it adapts encoder.layer.attention.self.query, which this model lacks",
        ),
    ],
)
def test_tensors_with_other_names_are_refused(saved: Path, old: str, new: str, expected: str) -> None:
    """Whole files of them, and one among others."""
    weights = {key.replace(old, new): weight.clone() for key, weight in load_file(saved / WEIGHTS).items()}
    save_file(weights, saved / WEIGHTS)
    assert expected in _refusal(saved)


def test_a_configuration_of_another_family_is_refused(saved: Path) -> None:
    """LoHa has none of LoRA's tensors."""
    _reconfigure(saved, peft_type="LOHA")
    assert "lora_A.weight, which is none of a LOHA adapter" in _refusal(saved)


def test_a_shared_tensor_that_the_model_does_not_take_is_refused(saved: Path) -> None:
    """It belongs to no module, and nothing of the adapter reads it."""
    save_file(load_file(saved / WEIGHTS) | {"base_model.vera_A": torch.zeros(3, WIDTH)}, saved / WEIGHTS)
    assert "1 of its tensors have no counterpart, as base_model.vera_A" in _refusal(saved)


# Adapters of other models


def test_another_width_is_refused(saved: Path) -> None:
    """With both widths."""
    wide = seeded(lambda: BertModel(bert(hidden_size=64)))
    assert "encoder.layer.0.attention.self.query has a width of 64 here, but of 32 in the adapter" in _refusal(
        saved, wide
    )


@pytest.mark.parametrize("name", ["dora", "vera", "ia3", "oft", "shira", "full"])
def test_other_kinds_are_refused_on_another_width(name: str, tmp_path: Path) -> None:
    """In one line, whatever their tensors are called."""
    in_place(name).placed.save(tmp_path / "adapter")
    _refusal(tmp_path / "adapter", seeded(lambda: BertModel(bert(hidden_size=64, intermediate_size=96))))


def test_exchanged_widths_are_refused(tmp_path: Path) -> None:
    """32 to 48 is not 48 to 32, although both numbers occur."""
    _save(tiny("bert"), tmp_path / "adapter", roles=["up"])
    other = seeded(lambda: BertModel(bert(hidden_size=48, intermediate_size=32)))
    assert "intermediate.dense has a width of 48 here, but of 32" in _refusal(tmp_path / "adapter", other)


@pytest.mark.parametrize("name", ["llama", "distilbert", "bert_classifier", "gpt2"])
def test_other_module_names_are_refused(saved: Path, name: str) -> None:
    """With the first module that is missing; a head puts a prefix before all names."""
    assert "encoder.layer.0.attention.self.query, which this model lacks" in _refusal(saved, tiny(name))


def test_a_shallower_model_is_refused(saved: Path) -> None:
    """It has no layer 2."""
    shallow = seeded(lambda: BertModel(bert(num_hidden_layers=2)))
    assert "encoder.layer.2" in _refusal(saved, shallow)


def test_other_groups_of_heads_are_refused(tmp_path: Path) -> None:
    """Two Llamas of one width whose value projections differ."""
    _save(tiny("llama"), tmp_path / "adapter", roles=["value"])
    other = seeded(lambda: LlamaModel(llama(num_key_value_heads=4)))
    assert "v_proj has a width of 32 here, but of 16 in the adapter" in _refusal(tmp_path / "adapter", other)


def test_a_refusal_by_name_leaves_the_model_alone(saved: Path) -> None:
    """The check comes before PEFT touches the model."""
    model = tiny("llama")
    before = _vectors(model)
    _refusal(saved, model)
    assert adapted_layers(Backbone(model, None, "mean")) == []
    assert torch.equal(_vectors(model), before)


def test_an_adapter_moves_with_its_folder(saved: Path, tmp_path: Path) -> None:
    """Nothing in it names the place where it was made."""
    moved = Path(shutil.move(saved, tmp_path / "elsewhere"))
    backbone = Backbone(tiny("bert"), None, "mean")
    load_adapter(backbone, moved)
    assert adapted_layers(backbone) == CHOSEN
