"""After PEFT has applied the configuration, exactly the chosen layers carry adapters; and selections as JSON."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from models import (
    ARCHITECTURES,
    ENCODERS,
    N_LAYERS,
    WITH_CROSS_ATTENTION,
    bart,
    bert,
    fused,
    llama,
    padded,
    ragged,
    seeded,
    t5,
    tiny,
)
from peft import LoraConfig, PeftModel, PeftModelForCausalLM, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import BertModel, MambaConfig, MambaModel, PreTrainedModel, Trainer, TrainingArguments

from layersel.errors import UserError
from layersel.files import write_json
from layersel.selection.score import score_named
from layersel.selection.select import select_layers
from layersel.selection.selection import Selection

pytestmark = [  # PEFT's, with every model and with GPT-2
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning"),
]

ATTENTION = ["query", "key", "value"]


def _selection(model: PreTrainedModel, layers: list[int]) -> Selection:
    score = score_named("manual", layers=layers) if layers else "none"
    return select_layers(model, [padded(model, ragged())], score=score, pooling="mean")


def _with_lora(adapted: PeftModel) -> set[str]:
    """Returns the names, in the model as it was before, of the modules that carry LoRA."""
    return {
        name.removeprefix("base_model.model.")
        for name, module in adapted.named_modules()
        if isinstance(module, LoraLayer)
    }


@pytest.mark.parametrize("layers", [[1], [0, 2]])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_exactly_the_chosen_layers_carry_lora(name: str, layers: list[int]) -> None:
    """All projections that the architecture has, of these layers and of no others."""
    model = tiny(name)
    selection = _selection(model, layers)
    roles = list(selection.modules[0])
    expected = {module for layer in layers for module in selection.modules[layer].values()}
    assert _with_lora(get_peft_model(model, selection.lora_config(r=2, projections=roles))) == expected


@pytest.mark.parametrize("name", ENCODERS)
def test_the_output_projection_does_not_hit_the_pooler(name: str) -> None:
    """PEFT's `dense` would: the pooler's module has that name too."""
    model = tiny(name)
    adapted = get_peft_model(model, _selection(model, [1]).lora_config(r=2, projections=["output", "down"]))
    assert len(_with_lora(adapted)) == 2
    assert not any("pooler" in module for module in _with_lora(adapted))


def _llava() -> PreTrainedModel:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": N_LAYERS, "num_attention_heads": 4}
    vision = {"model_type": "clip_vision_model", "image_size": 16, "patch_size": 8} | sizes
    text = llama().to_dict()
    return hf.LlavaForConditionalGeneration(hf.LlavaConfig(text_config=text, vision_config=vision, image_token_index=9))


PARTS = {
    "model.language_model": _llava,
    "encoder": lambda: hf.T5ForConditionalGeneration(t5()),
    "model.decoder": lambda: hf.BartForConditionalGeneration(bart()),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_a_model_is_adapted_in_the_whole(part: str, tmp_path: Path) -> None:
    """The other part, whose modules have the same names, is left alone; also by a file, and with ranks of their own."""
    whole = seeded(PARTS[part])
    model = whole.get_submodule(part)
    scored = select_layers(model, [padded(model, ragged())], n=2, pooling="mean")
    allocated = scored.allocated("proportional", 2).within(whole, part)
    expected = {f"{part}.{name}" for name in scored.target_modules()}
    for selection in (scored.within(whole, part), allocated):
        content = _written(selection, tmp_path / "selection.json")
        for config in (selection.lora_config(r=2), LoraConfig(r=2, **content["peft"])):
            assert _with_lora(get_peft_model(seeded(PARTS[part]), config)) == expected
    assert allocated == scored.within(whole, part).allocated("proportional", 2)


@pytest.mark.parametrize("part", ["decoders", "model.encoder", ""])
def test_a_part_that_is_not_the_scored_one_is_refused(part: str) -> None:
    """A misspelt name, and a part with other modules."""
    whole = seeded(PARTS["encoder"])
    with pytest.raises(
        UserError,
        match=rf"^part: expected the name of the scored model in T5.* but got '{part}', and there is no .*block",
    ):
        _selection(whole.get_encoder(), [0]).within(whole, part)


def test_layer_1_is_not_layer_11_nor_21() -> None:
    """PEFT matches endings of names and shortens long lists of them: 24 layers, 26 modules."""
    model = seeded(lambda: BertModel(bert(num_hidden_layers=24)))
    layers = [1, *range(10, 22)]
    selection = _selection(model, layers)
    adapted = get_peft_model(model, selection.lora_config(r=1))
    assert _with_lora(adapted) == {selection.modules[layer][role] for layer in layers for role in ("query", "value")}


def test_an_empty_selection_is_refused() -> None:
    """An empty `layers_to_transform` would make PEFT adapt all layers."""
    with pytest.raises(
        UserError, match="at least one chosen layer, but the selection is empty; use the model as it is"
    ):
        _selection(tiny("bert"), []).lora_config()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_fused_projection_is_named_whole_or_refused(name: str) -> None:
    """Adapting only the query of a fused module is not possible; saying nothing would adapt all three."""
    model = tiny(name)
    selection = _selection(model, [0])
    if fused(model):
        with pytest.raises(UserError, match=r"query, key, value in one module .*name all of them or none"):
            selection.lora_config(projections=["query", "value"])
        assert len(selection.target_modules(ATTENTION)) == 1
        assert selection.lora_config().target_modules == {selection.modules[0]["query"]}
    else:
        assert selection.lora_config().target_modules == {selection.modules[0][role] for role in ("query", "value")}
        assert len(selection.target_modules(["query", "value"])) == 2
        assert len(selection.target_modules(ATTENTION)) == 3


def test_projections_that_do_not_exist_are_refused_with_those_that_do() -> None:
    """A misspelt one, and one that this architecture lacks."""
    selection = _selection(tiny("bert"), [0])
    with pytest.raises(UserError, match="expected one of query, key, value, output, gate, up, down, but got 'q_proj'"):
        selection.lora_config(projections=["q_proj"])
    with pytest.raises(
        UserError, match="one of query, key, value, output, up, down, but got 'gate'; this model has no"
    ):
        selection.lora_config(projections=["gate"])
    with pytest.raises(UserError, match=r"^projections: expected a list, such as \['query'\], but got 'query'$"):
        selection.lora_config(projections="query")


@pytest.mark.parametrize("rank", [0, -1, 1.5])
def test_a_rank_that_is_none_is_refused(rank: float) -> None:
    """The message has the value that was given."""
    with pytest.raises(UserError, match=f"whole number of at least 1, but got {rank}"):
        _selection(tiny("bert"), [0]).lora_config(r=rank)


def test_alpha_is_twice_the_rank_unless_given() -> None:
    """Zero would be a value, not a default; other arguments reach PEFT."""
    selection = _selection(tiny("bert"), [0])
    assert selection.lora_config(r=4).lora_alpha == 8
    assert selection.lora_config(r=4, alpha=1.5).lora_alpha == 1.5
    assert selection.lora_config(r=4, alpha=0).lora_alpha == 0
    config = selection.lora_config(lora_dropout=0.1, use_rslora=True)
    assert (config.lora_dropout, config.use_rslora) == (0.1, True)


def test_the_scale_has_pefts_name_too() -> None:
    """Either name sets it; both are refused, even where they agree."""
    selection = _selection(tiny("bert"), [0])
    assert selection.lora_config(r=4, lora_alpha=0).lora_alpha == 0
    assert selection.lora_config(r=4, lora_alpha=32).lora_alpha == 32
    with pytest.raises(UserError, match="expected one scale, but got lora_alpha=8 and alpha=8"):
        selection.lora_config(lora_alpha=8, alpha=8)


@pytest.mark.parametrize("name", ["target_modules", "layers_to_transform", "exclude_modules"])
def test_places_beside_the_selections_are_refused(name: str) -> None:
    """They would put adapters into other layers."""
    with pytest.raises(UserError, match=f"{name}: expected none, as the selection says where"):
        _selection(tiny("bert"), [0]).lora_config(**{name: ["query"]})


def test_a_model_without_known_projections_is_refused() -> None:
    """Mamba has no attention: PEFT needs the names of its modules."""
    sizes = {"hidden_size": 32, "num_hidden_layers": N_LAYERS, "vocab_size": 400, "state_size": 4}
    model = seeded(lambda: MambaModel(MambaConfig(**sizes)))
    with pytest.raises(UserError, match="one without such modules in a chosen layer; give PEFT the names"):
        _selection(model, [0]).lora_config()


def test_a_selection_survives_json(tmp_path: Path) -> None:
    """It keeps the NaN of an excluded layer and its stability, and still makes the same configuration."""
    model = tiny("bert")
    selection = select_layers(model, [padded(model, ragged([9] * 8, cls=2))], n=1, pooling="cls")
    assert math.isnan(selection.scores[0])
    write_json(tmp_path / "selection.json", selection.to_dict())
    text = (tmp_path / "selection.json").read_text()
    assert "NaN" not in text
    loaded = Selection.from_dict(json.loads(text))
    assert math.isnan(loaded.scores[0])
    assert replace(loaded, scores=selection.scores[1:]) == replace(selection, scores=selection.scores[1:])
    assert loaded.scores[1:] == selection.scores[1:]
    assert loaded.lora_config().target_modules == selection.lora_config().target_modules


def test_an_undefined_stability_survives_json(tmp_path: Path) -> None:
    """Two layers, one of them excluded, have no rank correlation: null in the file, NaN again when read."""
    model = seeded(lambda: BertModel(bert(num_hidden_layers=2)))
    selection = select_layers(model, [padded(model, ragged([9] * 8, cls=2))], n=1, pooling="cls")
    write_json(tmp_path / "selection.json", selection.to_dict())
    loaded = Selection.from_dict(json.loads((tmp_path / "selection.json").read_text()))
    assert loaded.stability is not None
    assert math.isnan(loaded.stability.rank_correlation)


def test_a_selection_without_stability_survives_json() -> None:
    """The controls have none."""
    selection = _selection(tiny("bert"), [0, 2])
    assert Selection.from_dict(json.loads(json.dumps(selection.to_dict()))) == selection


# Files for other tools


def _written(selection: Selection, path: Path, roles: list[str] | None = None) -> dict[str, Any]:
    selection.save(path, roles)
    return json.loads(path.read_text())


@pytest.mark.parametrize("layers", [[1], [0, 2]])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_saved_selection_adapts_exactly_the_chosen_layers_in_any_tool(
    name: str, layers: list[int], tmp_path: Path
) -> None:
    """Each projection alone, all of them, and the default, as each tool hands its arguments to PEFT."""
    selection = _selection(tiny(name), layers)
    modules = selection.modules[0]
    alone = [[role for role, own in modules.items() if own == module] for module in set(modules.values())]
    for roles in [*alone, list(modules), None]:
        expected = set(selection.target_modules(roles))
        content = _written(selection, tmp_path / "selection.json", roles)
        axolotl = content["axolotl"]
        by_axolotl = {
            "target_modules": axolotl["lora_target_modules"],
            "layers_to_transform": axolotl.get("peft_layers_to_transform"),
            "layers_pattern": axolotl.get("peft_layers_pattern"),
        }
        by_llama_factory = {"target_modules": content["llama_factory"]["lora_target"].split(",")}
        for places in (content["peft"], by_axolotl, by_llama_factory):
            assert _with_lora(get_peft_model(tiny(name), LoraConfig(r=2, **places))) == expected


@pytest.mark.parametrize("roles", [None, ["query", "key", "value"], ["output"], ["up", "down"]], ids=str)
@pytest.mark.parametrize("name", ["bert", "gpt2", "bart"])
def test_a_saved_selection_leaves_cross_attention_alone(name: str, roles: list[str] | None, tmp_path: Path) -> None:
    """Its modules have the names of those of the attention that texts pass."""
    model = seeded(WITH_CROSS_ATTENTION[name])
    selection = _selection(model, [0, 2])
    content = _written(selection, tmp_path / "selection.json", roles)
    assert _with_lora(get_peft_model(model, LoraConfig(r=2, **content["peft"]))) == set(selection.target_modules(roles))


@pytest.mark.parametrize(
    ("name", "roles", "endings", "pattern"),
    [
        ("llama_causal", ["query", "up"], ["q_proj", "up_proj"], "layers"),
        ("gpt2", None, ["c_attn"], "h"),
        ("gpt2", ["output"], ["attn.c_proj"], "h"),
        ("bert", None, ["query", "value"], "layer"),
        ("mpnet", ["output"], ["o"], "layer"),
        ("bert", ["output", "up"], ["attention.output.dense", "intermediate.dense"], "layer"),
    ],
)
def test_a_saved_selection_names_modules_as_short_as_is_safe(
    name: str, roles: list[str] | None, endings: list[str], pattern: str, tmp_path: Path
) -> None:
    """By their own name, unless another module of the layer has the same: BERT's `dense`, GPT-2's `c_proj`."""
    content = _written(_selection(tiny(name), [0, 2]), tmp_path / "selection.json", roles)
    assert content["peft"] == {"target_modules": endings, "layers_to_transform": [0, 2], "layers_pattern": pattern}


def test_a_module_whose_name_ends_the_name_of_another_is_named_in_full(tmp_path: Path) -> None:
    """BERT's `output.dense` is the end of `attention.output.dense`: no ending tells it from that one."""
    content = _written(_selection(tiny("bert"), [1]), tmp_path / "selection.json", ["down"])
    assert content["peft"] == {"target_modules": ["encoder.layer.1.output.dense"]}


def test_layers_whose_modules_differ_are_named_in_full(tmp_path: Path) -> None:
    """The short form would adapt `q` of layer 1 too, which is no projection there that was asked for."""
    first = {"query": "layers.0.q", "value": "layers.0.v"}
    second = {"query": "layers.1.v", "value": "layers.1.w", "up": "layers.1.q"}
    selection = Selection("last", [0.0, 1.0], [0, 1], ["", ""], [first, second])
    content = _written(selection, tmp_path / "selection.json")
    assert content["peft"] == {"target_modules": ["layers.0.q", "layers.0.v", "layers.1.v", "layers.1.w"]}
    assert content["axolotl"] == {"lora_target_modules": content["peft"]["target_modules"]}


def test_a_saved_selection_is_loaded_as_it_was(tmp_path: Path) -> None:
    """Its own file, the one of a run, and one of a version that did not count weights."""
    model = tiny("bert")
    selection = select_layers(model, [padded(model, ragged([9] * 6))], n=1, pooling="mean")
    selection.save(tmp_path / "a.json")
    write_json(tmp_path / "b.json", selection.to_dict())
    former = {name: value for name, value in selection.to_dict().items() if "weights" not in name}
    write_json(tmp_path / "c.json", former)
    assert Selection.load(tmp_path / "a.json") == Selection.load(str(tmp_path / "b.json")) == selection
    assert Selection.load(tmp_path / "c.json") == replace(selection, weights=[], head_weights=0)


def test_a_saved_selection_of_no_layer_has_no_places(tmp_path: Path) -> None:
    """An empty list would make PEFT adapt all layers."""
    selection = _selection(tiny("bert"), [])
    assert set(_written(selection, tmp_path / "a.json")) == set(selection.to_dict())
    assert Selection.load(tmp_path / "a.json").layers == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "is missing; expected a file that Selection.save has written"),
        ("{", r"cannot be read \(.*\); write it anew"),
        ("[1]", "expected a selection in .*, but it holds something else"),
        ('{"layers": [1]}', "expected a selection in .*, but it holds something else"),
        ('{"stability": null, "scores": [1]}', "expected a selection in .*, but it holds something else"),
    ],
)
def test_what_is_no_saved_selection_is_refused(content: str | None, expected: str, tmp_path: Path) -> None:
    """One line with the file's name."""
    path = tmp_path / "selection.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=expected) as refused:
        Selection.load(path)
    assert "selection.json" in str(refused.value)


def test_the_configuration_trains_in_the_trainer_of_transformers(tmp_path: Path) -> None:
    """Five steps: the loss falls, and what has changed is LoRA in the chosen layers alone."""
    model = tiny("llama_causal")
    selection = _selection(model, [0, 2])
    adapted = get_peft_model(model, selection.lora_config(r=4, lora_alpha=16, lora_dropout=0.0, task_type="CAUSAL_LM"))
    assert isinstance(adapted, PeftModelForCausalLM)
    before = {name: value.clone() for name, value in adapted.state_dict().items()}
    texts = [{"input_ids": torch.tensor(ids), "labels": torch.tensor(ids)} for ids in ragged([8] * 4)]
    options = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=5,
        learning_rate=1e-2,
        per_device_train_batch_size=4,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
        seed=0,
    )
    trainer = Trainer(model=adapted, args=options, train_dataset=texts)
    with torch.random.fork_rng():
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0]
    changed = {name for name, value in adapted.state_dict().items() if not torch.equal(value, before[name])}
    assert all("lora_" in name for name in changed)
    assert {name.split(".lora_")[0].removeprefix("base_model.model.") for name in changed} == set(
        selection.target_modules()
    )


def test_the_table_has_a_row_for_each_layer() -> None:
    """What is chosen agrees with the list of layers, why with the reasons."""
    selection = _selection(tiny("bert"), [0, 2])
    columns, rows = selection.table()
    assert columns == ["layer", "chosen", "cost as lowest", "why"]
    assert [row[0] for row in rows] == list(range(N_LAYERS))
    assert [row[0] for row in rows if row[1]] == [0, 2]
    assert all(re.fullmatch(r"rank \d of 3; (within|beyond) the budget of 2", row[3]) for row in rows)
