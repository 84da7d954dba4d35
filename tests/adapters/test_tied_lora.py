"""Tied-LoRA: one A and one B for all chosen layers, u and v of each layer; counted, compared with VeRA, exported."""

from itertools import product
from pathlib import Path

import pytest
import torch
from models import N_LAYERS, WIDTH, llama, padded, ragged, tiny
from peft import PeftModel
from placing import CHOSEN, InPlace, in_place, selection_of, vectors_of
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaModel, Phi3Config, Phi3Model, PretrainedConfig, PreTrainedModel

from layersel.adapters.adapter import Adapter
from layersel.adapters.kinds.lora import Lora
from layersel.adapters.kinds.tied_lora import STATES, TiedLora
from layersel.adapters.placement import count_parameters
from layersel.adapters.scaled_rows import ScaledRows
from layersel.backbone.backbone import Backbone
from layersel.errors import UserError
from layersel.selection.selection import Selection

QKV = ["query", "key", "value"]
CONFIGURATIONS = [dict(zip(STATES, states, strict=True)) for states in product(*STATES.values()) if "trained" in states]
RANK = 4

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def name_of(states: dict[str, str]) -> str:
    """`vBua` with a capital for what is frozen, and - for what is absent."""
    letters = {"trained": str.lower, "frozen": str.upper, "absent": lambda _: "-"}
    return "".join(letters[states[part]](part) for part in "vbua")


def formula(states: dict[str, str], n_layers: int, width: int, rank: int) -> int:
    """What the paper counts: A has r·d, B 3·d·r, and each layer r in u and 3·d in v."""
    sizes = {"a": rank * width, "b": 3 * width * rank, "u": n_layers * rank, "v": n_layers * 3 * width}
    return sum(size for part, size in sizes.items() if states[part] == "trained")


@pytest.mark.parametrize("model", ["bert", "gpt2"])
@pytest.mark.parametrize("states", CONFIGURATIONS, ids=name_of)
def test_trained_parameters_are_the_papers(states: dict[str, str], model: str) -> None:
    """For every configuration, whether query, key and value are three modules or one."""
    adapted = in_place("tied_lora", model, projections=QKV, **states)
    assert count_parameters(adapted.backbone)[0] == formula(states, len(CHOSEN), WIDTH, RANK)


@pytest.mark.parametrize("states", CONFIGURATIONS, ids=name_of)
def test_training_starts_from_the_pretrained_model_and_moves(states: dict[str, str]) -> None:
    """ΔW is 0 and the first step changes it, so something that is trained has a gradient other than 0."""
    adapted = in_place("tied_lora", projections=QKV, **states)
    assert torch.equal(adapted.vectors, adapted.pretrained)
    step(adapted)
    assert (adapted.vectors - adapted.pretrained).abs().max() > 1e-4


def step(adapted: InPlace) -> None:
    """One step of gradient descent."""
    trained = [parameter for parameter in adapted.backbone.parameters() if parameter.requires_grad]
    adapted.backbone(padded(adapted.backbone.model, ragged())).square().mean().backward()
    torch.optim.SGD(trained, lr=1.0).step()


def count_at_7b(model: type[PreTrainedModel], config: type[PretrainedConfig], adapter: Adapter) -> int:
    """Trained parameters on query, key and value in the sizes of LLaMA-2-7B; on the meta device, without weights."""
    sizes = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "intermediate_size": 8}
    with torch.device("meta"):
        backbone = Backbone(model(config(**sizes, vocab_size=8, pad_token_id=0)), None, "last")
    selection = Selection("all", [1.0] * 32, list(range(32)), [""] * 32, backbone.projections)
    adapter.place(backbone, selection, torch.Generator())
    return count_parameters(backbone)[0]


@pytest.mark.parametrize(("model", "config"), [(LlamaModel, LlamaConfig), (Phi3Model, Phi3Config)])
def test_the_published_counts_for_llama_2_7b(model: type[PreTrainedModel], config: type[PretrainedConfig]) -> None:
    """At rank 8: vBuA 524,544 and tied A and B alone 131,072, also where query, key and value are three modules."""
    assert count_at_7b(model, config, TiedLora(rank=8, projections=QKV)) == 524_544
    assert count_at_7b(model, config, TiedLora(rank=8, projections=QKV, u="absent", v="absent")) == 131_072


def test_the_published_count_of_lora() -> None:
    """4,194,304 on the fused module, of which vBuA has 12.5 %."""
    assert count_at_7b(Phi3Model, Phi3Config, Lora(rank=8, projections=QKV)) == 4_194_304


def factors(adapted: InPlace, layer: int, projection: str) -> tuple[ScaledRows, ScaledRows]:
    """What stands for `lora_A` and `lora_B` there."""
    module = adapted.backbone.model.get_submodule(adapted.backbone.projections[layer][projection])
    return module.lora_A["default"], module.lora_B["default"]


def test_modules_share_what_the_formula_says() -> None:
    """ΔW_l = diag(v_l)·B·diag(u_l)·A, where query, key and value have rows of their own in B and v_l."""
    adapted = in_place("tied_lora", projections=QKV).shaken()
    changes = adapted.placed.changes()
    down, up = factors(adapted, 0, "query")
    assert up.matrix.shape == (3 * WIDTH, RANK)
    for layer in CHOSEN:
        inner, outer = factors(adapted, layer, "key")[0].scale, factors(adapted, layer, "key")[1].scale
        whole = torch.diag(outer) @ up.matrix @ torch.diag(inner) @ down.matrix
        for place, projection in enumerate(QKV):
            rows = slice(place * WIDTH, (place + 1) * WIDTH)
            change = changes[adapted.backbone.projections[layer][projection]]
            torch.testing.assert_close(change.dense, whole[rows], rtol=1e-5, atol=1e-5)
            assert factors(adapted, layer, projection)[0].matrix is down.matrix
            assert factors(adapted, layer, projection)[1].matrix is up.matrix
            assert factors(adapted, layer, projection)[0].scale is inner
    assert factors(adapted, 0, "query")[0].scale is not factors(adapted, 2, "query")[0].scale


def test_separate_and_fused_modules_are_the_same_adapter() -> None:
    """Three modules of a BERT or one of a GPT-2: the same A for the same seed, and one matrix of 3·d outputs."""
    separate = in_place("tied_lora", "bert", projections=QKV).placed.changes()
    fused = in_place("tied_lora", "gpt2", projections=QKV)
    down = factors(fused, 0, "query")[0].matrix
    name = fused.backbone.projections[0]["query"]
    assert len(fused.placed.changes()) == 2
    assert fused.placed.changes()[name].dense.shape == (3 * WIDTH, WIDTH)
    assert len(separate) == 6
    assert torch.equal(down, factors(in_place("tied_lora", "bert", projections=QKV), 0, "query")[0].matrix)


def test_shared_gradients_add_up_over_layers() -> None:
    """A's gradient is the sum of those that separate copies in each module would have."""
    adapted = in_place("tied_lora", projections=QKV).shaken()
    batch = padded(adapted.backbone.model, ragged())
    shared = factors(adapted, 0, "query")[0].matrix
    adapted.backbone(batch).square().mean().backward()
    expected = shared.grad.clone()
    copies = []
    for layer in CHOSEN:
        for projection in QKV:
            down, _ = factors(adapted, layer, projection)
            down.matrix = nn.Parameter(shared.detach().clone())
            copies.append(down.matrix)
    adapted.backbone(batch).square().mean().backward()
    torch.testing.assert_close(sum(copy.grad for copy in copies), expected, rtol=1e-4, atol=1e-6)


def test_an_optimizer_holds_shared_parameters_once() -> None:
    """A, B, and u and v of two layers: six tensors, not one for each module."""
    adapted = in_place("tied_lora", projections=QKV)
    trained = [parameter for parameter in adapted.backbone.parameters() if parameter.requires_grad]
    assert len(trained) == 6
    torch.optim.AdamW(trained)  # raises on parameters that appear twice


def vera_and_tied() -> tuple[InPlace, InPlace]:
    """PEFT's VeRA and Tied-LoRA with A and B frozen, on one projection, with the same A, B, u and v, none of them 0."""
    vera = in_place("vera", projections=["query"], rank=RANK).shaken()
    tied = in_place("tied_lora", projections=["query"], rank=RANK, a="frozen", b="frozen")
    with torch.no_grad():
        for layer in CHOSEN:
            down, up = factors(tied, layer, "query")
            source = vera.backbone.model.get_submodule(vera.backbone.projections[layer]["query"])
            down.matrix.copy_(source.vera_A["default"])
            up.matrix.copy_(source.vera_B["default"])
            down.scale.copy_(source.vera_lambda_d["default"])
            up.scale.copy_(source.vera_lambda_b["default"])
    return vera, tied


def test_with_frozen_factors_it_is_vera() -> None:
    """Same outputs, same gradients of u and v."""
    vera, tied = vera_and_tied()
    assert not torch.allclose(vera.vectors, vera.pretrained, atol=1e-2)
    torch.testing.assert_close(tied.vectors, vera.vectors, rtol=0, atol=1e-6)
    for adapted in (vera, tied):
        adapted.backbone(padded(adapted.backbone.model, ragged())).square().mean().backward()
    for layer in CHOSEN:
        down, up = factors(tied, layer, "query")
        source = vera.backbone.model.get_submodule(vera.backbone.projections[layer]["query"])
        assert_close_and_not_zero(down.scale.grad, source.vera_lambda_d["default"].grad)
        assert_close_and_not_zero(up.scale.grad, source.vera_lambda_b["default"].grad)
        assert down.matrix.grad is up.matrix.grad is None


def assert_close_and_not_zero(first: Tensor, second: Tensor) -> None:
    """Up to rounding, and not 0."""
    assert second.abs().max() > 1e-5
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("states", CONFIGURATIONS, ids=name_of)
def test_exported_it_is_a_standard_lora(states: dict[str, str], tmp_path: Path) -> None:
    """Read by PEFT alone on a fresh model: the same vectors."""
    adapted = in_place("tied_lora", projections=QKV, **states).shaken()
    adapted.placed.save(tmp_path / "adapter")
    fresh = tiny("bert")
    PeftModel.from_pretrained(fresh, str(tmp_path / "adapter"))
    torch.testing.assert_close(vectors_of(Backbone(fresh, None, "mean")), adapted.vectors, rtol=0, atol=1e-6)
    assert not torch.allclose(adapted.vectors, adapted.pretrained, atol=1e-3)


def test_groups_with_other_inputs_are_tied_apart() -> None:
    """Query, key and value; output; up; down: each has its own A and B, gate and up of a Llama one."""
    bert = in_place("tied_lora", layers=[0, 1, 2])
    assert {id(factors(bert, layer, "up")[0].matrix) for layer in range(N_LAYERS)} == {
        id(factors(bert, 0, "up")[0].matrix)
    }
    assert len({id(factors(bert, 0, name)[0].matrix) for name in ("query", "output", "up", "down")}) == 4
    gated = in_place("tied_lora", "llama")
    assert factors(gated, 0, "gate")[0].matrix is factors(gated, 2, "up")[0].matrix
    assert factors(gated, 0, "gate")[1].rows != factors(gated, 0, "up")[1].rows


def test_layers_of_other_shapes_cannot_share() -> None:
    """One line, before the model is touched."""
    backbone = Backbone(LlamaModel(llama()), None, "mean")
    backbone.layers[2].self_attn.q_proj = nn.Linear(WIDTH, 48)
    adapter = TiedLora(rank=2, projections=["query"])
    with pytest.raises(UserError, match=r"expected the same shape in all layers .* has \(32, 32\) and .* \(48, 32\)"):
        adapter.place(backbone, selection_of(tiny("llama")), torch.Generator())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"a": "absent"}, "adapter.a: expected one of trained, frozen, but got 'absent'"),
        ({"u": "yes"}, "adapter.u: expected one of trained, frozen, absent, but got 'yes'"),
        (dict.fromkeys("abuv", "frozen"), "adapter.a, b, u, v: expected at least one to be trained, but got none"),
        ({"rank": 0}, "adapter.rank: expected at least 1"),
    ],
)
def test_states_that_it_cannot_have_are_problems(options: dict[str, str], expected: str) -> None:
    """One line each."""
    (problem,) = TiedLora(**options).problems()
    assert problem.startswith(expected)
