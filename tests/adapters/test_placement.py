"""Adapters stand in the chosen layers only, start without effect, and are all that trains."""

import pytest
import torch
from models import ARCHITECTURES, N_LAYERS, WIDTH, bert, fused, padded, ragged, seeded, tiny
from peft import LoraConfig, PeftModel
from torch import nn
from transformers import BertModel, PreTrainedModel

from layersel.adapters.kinds.lora import Lora
from layersel.adapters.placement import adapted_layers, check_placement, count_parameters, place
from layersel.backbone.backbone import Backbone
from layersel.selection.score import score_named
from layersel.selection.select import select_layers
from layersel.selection.selection import Selection

CHOSEN = [0, 2]


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _selection(model: PreTrainedModel, layers: list[int] | None = None) -> Selection:
    score = score_named("manual", layers=CHOSEN if layers is None else layers)
    return select_layers(model, [padded(model, ragged())], score=score, pooling="mean")


def _placed(model: PreTrainedModel, seed: int = 0, rank: int = 4) -> tuple[Backbone, PeftModel]:
    """LoRA on all projections of layers 0 and 2."""
    selection = _selection(model)
    backbone = Backbone(model, None, "mean")
    config = Lora(rank=rank, projections=list(selection.modules[0])).peft_config(selection)
    return backbone, place(backbone, selection, config, _generator(seed))


def _lora_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach() for name, parameter in model.named_parameters() if ".lora_" in name}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_adapters_stand_in_the_chosen_layers(name: str) -> None:
    """For every architecture; before, there are none."""
    model = tiny(name)
    assert adapted_layers(Backbone(model, None, "mean")) == []
    backbone, _ = _placed(model)
    assert adapted_layers(backbone) == CHOSEN


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_placed_adapters_have_no_effect_at_first(name: str) -> None:
    """B = 0, so the vectors are exactly those of the pretrained model."""
    model = tiny(name)
    batch = padded(model, ragged())
    with torch.no_grad():
        before = Backbone(model, None, "mean")(batch)
        backbone, adapted = _placed(model)
        torch.testing.assert_close(backbone.eval()(batch), before, rtol=0, atol=1e-6)
    ups = [weight for key, weight in _lora_weights(adapted).items() if "lora_B" in key]
    assert ups
    assert all(not weight.any() for weight in ups)


def test_everything_but_the_adapters_is_frozen(fresh_model: PreTrainedModel) -> None:
    """Whatever trained before: heads and norms too."""
    fresh_model.requires_grad_(True)
    _, adapted = _placed(fresh_model)
    for name, parameter in adapted.named_parameters():
        assert parameter.requires_grad == (".lora_" in name), name


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama_causal"])
def test_a_step_of_training_changes_the_adapters_and_nothing_else(name: str) -> None:
    """And with them the vectors; with the adapters off these are the old ones."""
    model = tiny(name)
    backbone, adapted = _placed(model)
    batch = padded(model, ragged())
    weights = {key: value.detach().clone() for key, value in adapted.named_parameters()}
    start = backbone(batch).detach()
    optimizer = torch.optim.SGD([value for value in adapted.parameters() if value.requires_grad], lr=1.0)
    for _ in range(2):  # A has a gradient only once B is no longer zero
        optimizer.zero_grad()
        backbone(batch).square().mean().backward()
        optimizer.step()
    for key, value in adapted.named_parameters():
        assert torch.equal(value, weights[key]) == (".lora_" not in key), key
    with torch.no_grad():
        assert not torch.allclose(backbone(batch), start, atol=1e-4)
        with adapted.disable_adapter():
            torch.testing.assert_close(backbone(batch), start, rtol=0, atol=1e-6)


def test_prefix_and_suffix_hold_with_trained_adapters(fresh_model: PreTrainedModel) -> None:
    """The adapted layers are those of the backbone that was made before, so a cached prefix stays right."""
    backbone, adapted = _placed(fresh_model)
    with torch.no_grad():
        for weight in _lora_weights(adapted).values():
            weight.normal_(std=0.2, generator=_generator())
        batch = padded(fresh_model, ragged())
        whole = backbone(batch)
        for start in range(N_LAYERS):
            split = backbone(batch, start, backbone.prefix(batch, start))
            torch.testing.assert_close(split, whole, rtol=0, atol=1e-5)


def test_initial_values_follow_the_generator_only(global_rng_untouched: None) -> None:
    """Same seed, same values, whatever the global state, which stays as it was; another seed, others."""
    first = _lora_weights(_placed(tiny("bert"), seed=1)[1])
    state = torch.get_rng_state()
    torch.rand(3)
    second, other = (_lora_weights(_placed(tiny("bert"), seed=seed)[1]) for seed in (1, 2))
    torch.set_rng_state(state)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first if "lora_A" in key)


def test_the_generator_moves_on() -> None:
    """Two placements from one generator differ, as two draws should."""
    generator = _generator()
    drawn = []
    for _ in range(2):
        model = tiny("bert")
        selection = _selection(model)
        config = selection.lora_config(r=4)
        drawn.append(_lora_weights(place(Backbone(model), selection, config, generator)))
    assert not any(torch.equal(drawn[0][key], drawn[1][key]) for key in drawn[0] if "lora_A" in key)


def test_a_stray_adapter_is_an_error_that_names_both_sets() -> None:
    """PEFT's own `dense` adapts every layer and the pooler; the selection says layer 1."""
    model = tiny("bert")
    backbone = Backbone(model)
    config = LoraConfig(r=2, target_modules=["dense"])
    with pytest.raises(RuntimeError, match=r"in layers \[0, 1, 2\] and 1 outside of them, but \[1\] were chosen"):
        place(backbone, _selection(model, [1]), config, _generator())


def test_an_adapter_outside_the_layers_is_an_error() -> None:
    """Even if the adapted layers are the chosen ones."""
    model = tiny("bert")
    targets = ["encoder.layer.1.attention.self.query", "pooler.dense"]
    with pytest.raises(RuntimeError, match="1 outside of them"):
        place(Backbone(model), _selection(model, [1]), LoraConfig(r=2, target_modules=targets), _generator())


@pytest.mark.parametrize(("claimed", "passes"), [([0, 2], True), ([0], False), ([0, 1, 2], False), ([], False)])
def test_placement_is_checked_both_ways(claimed: list[int], passes: bool) -> None:
    """Too many and too few adapted layers are both wrong."""
    backbone, _ = _placed(tiny("bert"))
    if passes:
        check_placement(backbone, claimed)
    else:
        with pytest.raises(RuntimeError, match=r"in layers \[0, 2\] and 0 outside"):
            check_placement(backbone, claimed)


def test_trained_layers_of_their_own_count_as_adapted() -> None:
    """Full fine-tuning; a model that nobody has frozen has no adapted layers yet."""
    backbone = Backbone(tiny("bert"))
    assert adapted_layers(backbone) == []
    backbone.requires_grad_(False)
    assert adapted_layers(backbone) == []
    backbone.layers[1].requires_grad_(True)
    assert adapted_layers(backbone) == [1]
    check_placement(backbone, [1])
    with pytest.raises(RuntimeError, match=r"in layers \[1\] and 0 outside of them, but \[2\] were chosen"):
        check_placement(backbone, [2])


def test_no_adapter_is_where_none_is_chosen() -> None:
    """The frozen encoder passes the check for an empty selection."""
    check_placement(Backbone(tiny("bert")), [])


@pytest.mark.parametrize("rank", [1, 4])
def test_trainable_parameters_are_the_hand_count(fresh_model: PreTrainedModel, rank: int) -> None:
    """R·(d_in + d_out) for each adapted module, by the widths of the module."""
    selection = _selection(fresh_model)
    total = sum(parameter.numel() for parameter in fresh_model.parameters())
    modules = {name for layer in CHOSEN for name in selection.modules[layer].values()}
    expected = sum(rank * sum(fresh_model.get_submodule(name).weight.shape) for name in modules)
    _, adapted = _placed(fresh_model, rank=rank)
    assert count_parameters(adapted) == (expected, total + expected)


def test_the_thesis_count_for_a_bert_base() -> None:
    """Rank 4 on key and value of 3 layers of width 768: 36,864 parameters (here one twenty-fourth as wide)."""
    model = seeded(lambda: BertModel(bert(num_hidden_layers=4)))
    selection = _selection(model, [1, 2, 3])
    config = Lora(rank=4, projections=["key", "value"]).peft_config(selection)
    adapted = place(Backbone(model), selection, config, _generator())
    assert count_parameters(adapted)[0] * 768 // WIDTH == 36_864


def test_a_shared_parameter_counts_once() -> None:
    """Tied embeddings are one matrix."""
    first, second = nn.Linear(3, 4, bias=False), nn.Linear(3, 4, bias=False)
    second.weight = first.weight
    assert count_parameters(nn.Sequential(first, second)) == (12, 12)
    first.requires_grad_(False)
    assert count_parameters(nn.Sequential(first, second)) == (0, 12)


def test_fused_projections_are_adapted_as_one_module() -> None:
    """GPT-2's Conv1D of width 3·d gets one A and one B."""
    model = tiny("gpt2")
    assert fused(model)
    selection = _selection(model, [1])
    config = Lora(rank=2, projections=["query", "key", "value"]).peft_config(selection)
    adapted = place(Backbone(model, None, "last"), selection, config, _generator())
    assert count_parameters(adapted)[0] == 2 * (WIDTH + 3 * WIDTH)
    assert sorted(tuple(weight.shape) for weight in _lora_weights(adapted).values()) == [(2, WIDTH), (3 * WIDTH, 2)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"rank": 0}, "adapter.rank: expected at least 1, but got 0; use selection=none"),
        ({"alpha": 0.0}, "adapter.alpha: expected a number above 0, but got 0"),
        ({"dropout": 1.0}, "adapter.dropout: expected 0 <= p < 1, but got 1"),
        ({"dropout": -0.5}, "adapter.dropout: expected 0 <= p < 1, but got -0.5"),
        ({"projections": ["q_proj"]}, "adapter.projections: expected one of query, key, value"),
        ({"projections": []}, "adapter.projections: expected some of query, key, value"),
    ],
)
def test_each_bad_option_of_lora_is_a_problem(options: dict[str, object], expected: str) -> None:
    """One line each; all at once when there are several; none for the defaults."""
    (problem,) = Lora(**options).problems()
    assert problem.startswith(expected)
    assert Lora().problems() == []
    assert len(Lora(rank=0, alpha=-1.0, dropout=2.0, projections=["x"]).problems()) == 4


def test_lora_options_reach_peft() -> None:
    """Alpha is twice the rank unless given."""
    selection = _selection(tiny("bert"), [1])
    config = Lora(rank=3, alpha=5.0, dropout=0.2, projections=["up"]).peft_config(selection)
    assert (config.r, config.lora_alpha, config.lora_dropout) == (3, 5.0, 0.2)
    assert config.target_modules == {"encoder.layer.1.intermediate.dense"}
    assert Lora(rank=3).peft_config(selection).lora_alpha == 6


@pytest.mark.filterwarnings("ignore:.*(second time|`peft_config` attribute):UserWarning")
def test_a_second_placement_in_other_layers_is_an_error() -> None:
    """PEFT adds its layers to those of the first one."""
    backbone, _ = _placed(tiny("bert"))
    selection = _selection(tiny("bert"), [1])
    with pytest.raises(RuntimeError, match=r"in layers \[0, 1, 2\] .* but \[1\] were chosen"):
        place(backbone, selection, selection.lora_config(r=2), _generator())
