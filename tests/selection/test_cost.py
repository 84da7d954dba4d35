"""The cost of a training step, against the FLOPs that PyTorch counts in one."""

from dataclasses import replace

import pytest
import transformers as hf
from models import llama, padded, ragged, seeded, tiny
from peft import get_peft_model
from torch.utils.flop_counter import FlopCounterMode

from layersel.selection.cost import cost_line, step_flops
from layersel.selection.score import score_named
from layersel.selection.select import select_layers
from layersel.selection.selection import Selection
from layersel.selection.table import show_selection

DEPTH, TOKENS = 8, 6 * 4
SIZES = {"num_hidden_layers": DEPTH, "hidden_size": 128, "intermediate_size": 192, "head_dim": 32}
SELECTION = Selection("cka", [0.0] * 4, [1, 3], [""] * 4, [{}] * 4, weights=[10] * 4, head_weights=20)

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def _llama() -> hf.LlamaForCausalLM:
    return seeded(lambda: hf.LlamaForCausalLM(llama(**SIZES, attn_implementation="eager")))


def _selection(layers: list[int]) -> Selection:
    model = _llama()
    return select_layers(model, [padded(model, ragged([6] * 4))], score=score_named("manual", layers=layers))


@pytest.mark.parametrize("layers", [[0], [7], [3, 5], [2, 3, 4, 5, 6, 7], list(range(DEPTH))])
def test_a_step_costs_what_pytorch_counts(layers: list[int]) -> None:
    """Within 5 %, as attention, the adapters and what the lowest layer spares are left out: a layer is 6 % or more."""
    selection = _selection(layers)
    model = get_peft_model(_llama(), selection.lora_config(r=1))
    batch = padded(model, ragged([6] * 4))
    with FlopCounterMode(display=False) as counter:
        model(**batch, labels=batch["input_ids"]).loss.backward()
    expected = step_flops(selection.weights, selection.head_weights, layers) * TOKENS
    assert expected == pytest.approx(counter.get_total_flops(), rel=0.05)


@pytest.mark.parametrize("start", [1, 4, 6])
def test_what_is_kept_spares_the_layers_below(start: int) -> None:
    """The layers from the lowest adapted one on as a model of their own, in which nothing is kept."""
    selection = _selection([start, DEPTH - 1])
    weights, head = selection.weights, selection.head_weights
    layers = [layer - start for layer in selection.layers]
    assert step_flops(weights, head, selection.layers, kept=True) == step_flops(weights[start:], head, layers)


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama_causal", "phi3", "bert_classifier"])
def test_weights_are_those_of_the_layers_matrices_and_of_the_head(name: str) -> None:
    """All parameters of a layer with two dimensions; a head that predicts no tokens does not count."""
    model = tiny(name)
    selection = select_layers(model, [padded(model, ragged())], score="last")
    prefixes = [set(named.values()).pop().split(f".{layer}.")[0] for layer, named in enumerate(selection.modules)]
    layers = [model.get_submodule(f"{prefix}.{layer}") for layer, prefix in enumerate(prefixes)]
    assert selection.weights == [sum(own.numel() for own in layer.parameters() if own.ndim == 2) for layer in layers]
    assert selection.head_weights == (32 * 400 if name == "llama_causal" else 0)


def test_weights_of_adapted_modules_are_the_pretrained_ones() -> None:
    """An adapter's own matrices are no part of the model that is trained anew."""
    plain = _selection([0])
    adapted = get_peft_model(_llama(), plain.lora_config(r=4))
    with pytest.warns(UserWarning, match="without its adapters"):
        again = select_layers(adapted, [padded(adapted, ragged([6] * 4))], score="last")
    assert again.weights == plain.weights


def test_the_line_compares_with_all_and_with_the_last_layers() -> None:
    """4 layers of 10 and a head of 20: all cost 240; from layer 1 on 220, or 200 if layer 0 is spared."""
    beginning = "cost of a training step, with all layers as 1: "
    last = "0.83 (0.67 where what enters layer 2 is kept)"
    assert cost_line(SELECTION) == (
        f"{beginning}0.92 (0.83 where what enters layer 1 is kept); of the last 2, the least: {last}"
    )
    assert cost_line(replace(SELECTION, layers=[2, 3])) == f"{beginning}{last}"
    assert cost_line(replace(SELECTION, layers=[0, 3])) == f"{beginning}1.00; of the last 2, the least: {last}"
    assert cost_line(replace(SELECTION, layers=[0, 1, 2, 3])) == f"{beginning}1.00"


@pytest.mark.parametrize("options", [{"layers": []}, {"weights": []}])
def test_without_layers_or_weights_there_is_no_line(options: dict[str, list[int]]) -> None:
    """Nothing is trained, or a former version wrote the selection."""
    assert cost_line(replace(SELECTION, **options)) is None


def test_no_choice_of_as_many_layers_costs_less_than_the_last() -> None:
    """The cost grows with every layer that the lowest one stands further down."""
    costs = [step_flops([10, 20, 5, 10], 7, [lowest, 3]) for lowest in range(4)]
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) == 4


def test_the_table_ends_with_the_cost(capsys: pytest.CaptureFixture[str]) -> None:
    """One line below the table."""
    show_selection(SELECTION)
    assert capsys.readouterr().out.splitlines()[-1] == cost_line(SELECTION)
