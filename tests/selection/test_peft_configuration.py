"""After PEFT has applied the configuration, exactly the chosen layers carry adapters; and selections as JSON."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from models import ARCHITECTURES, ENCODERS, N_LAYERS, bert, fused, padded, ragged, seeded, tiny
from peft import PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import BertModel, MambaConfig, MambaModel, PreTrainedModel

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


@pytest.mark.parametrize("rank", [0, -1])
def test_a_rank_below_one_is_refused(rank: int) -> None:
    """The message has the value that was given."""
    with pytest.raises(UserError, match=f"rank of at least 1, but got {rank}"):
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
    selection = select_layers(model, [padded(model, ragged([9] * 6, cls=2))], n=1, pooling="cls")
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
    selection = select_layers(model, [padded(model, ragged([9] * 6, cls=2))], n=1, pooling="cls")
    write_json(tmp_path / "selection.json", selection.to_dict())
    loaded = Selection.from_dict(json.loads((tmp_path / "selection.json").read_text()))
    assert loaded.stability is not None
    assert math.isnan(loaded.stability.rank_correlation)


def test_a_selection_without_stability_survives_json() -> None:
    """The controls have none."""
    selection = _selection(tiny("bert"), [0, 2])
    assert Selection.from_dict(json.loads(json.dumps(selection.to_dict()))) == selection


def test_the_table_has_a_row_for_each_layer() -> None:
    """What is chosen agrees with the list of layers, why with the reasons."""
    selection = _selection(tiny("bert"), [0, 2])
    columns, rows = selection.table()
    assert columns == ["layer", "chosen", "why"]
    assert [row[0] for row in rows] == list(range(N_LAYERS))
    assert [row[0] for row in rows if row[1]] == [0, 2]
    assert all(re.fullmatch(r"rank \d of 3; (within|beyond) the budget of 2", row[2]) for row in rows)
