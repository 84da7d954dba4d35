"""Every architecture's layers and projections are found, and what has no single stack of layers is refused."""

import pytest
from models import DECODERS, ENCODERS, N_LAYERS, WIDTH, WITH_CROSS_ATTENTION, fused, padded, ragged, seeded, t5, tiny
from torch import nn
from transformers import PreTrainedModel, T5EncoderModel, T5ForConditionalGeneration
from transformers.pytorch_utils import Conv1D

from layersel.backbone.backbone import Backbone
from layersel.backbone.layers import find_layers, find_linear, find_projections
from layersel.errors import UserError

ATTENTION_AND_MLP = {"query", "key", "value", "output", "up", "down"}
GATED = {"modernbert", "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma3_text", "phi3"}


def _shape(module: nn.Module) -> tuple[int, int]:
    """(inputs, outputs) of a linear module, which Conv1D keeps the other way round."""
    shape = tuple(module.weight.shape)
    return shape if isinstance(module, Conv1D) else shape[::-1]


def test_layers_are_the_models_own_stack(shared_model: PreTrainedModel) -> None:
    """The modules found are the very ones of the model, under their name, as many as the configuration says."""
    name, layers = find_layers(shared_model)
    assert len(layers) == N_LAYERS == Backbone(shared_model, None, "mean").n_layers
    assert shared_model.get_submodule(name) is layers


def test_each_layer_has_every_projection_as_a_linear_module(shared_model: PreTrainedModel) -> None:
    """Query, key, value, output, up, down (and gate, where the architecture has one) stand in their own layer."""
    expected = ATTENTION_AND_MLP | ({"gate"} if shared_model.config.model_type in GATED else set())
    stack, _ = find_layers(shared_model)
    for index, named in enumerate(find_projections(shared_model)):
        assert set(named) == expected
        for module in named.values():
            assert module.startswith(f"{stack}.{index}.")
            assert isinstance(shared_model.get_submodule(module), nn.Linear | Conv1D)


def test_projections_have_the_widths_of_their_role(shared_model: PreTrainedModel) -> None:
    """What reads the hidden state takes its width; output and down give it back; the MLP is wider inside."""
    for named in find_projections(shared_model):
        shapes = {role: _shape(shared_model.get_submodule(module)) for role, module in named.items()}
        assert all(shapes[role][0] == WIDTH for role in ("query", "key", "value", "up"))
        assert all(shapes[role][1] == WIDTH for role in ("output", "down"))
        assert shapes["down"][0] > WIDTH


def test_no_linear_module_of_a_layer_is_left_without_a_role(shared_model: PreTrainedModel) -> None:
    """The six or seven roles cover all linear modules inside the layers: none is missed or mistaken."""
    stack, layers = find_layers(shared_model)
    inside = {f"{stack}.{name}" for name, module in layers.named_modules() if isinstance(module, nn.Linear | Conv1D)}
    assert inside == {module for named in find_projections(shared_model) for module in named.values()}


def test_fused_attention_stands_under_each_of_its_roles(shared_model: PreTrainedModel) -> None:
    """Where one module computes query, key and value, all three name it; else they name three."""
    for named in find_projections(shared_model):
        assert len({named["query"], named["key"], named["value"]}) == (1 if fused(shared_model) else 3)


@pytest.mark.parametrize("name", ["modernbert", "phi3"])
def test_fused_gate_and_up_stand_under_both_roles(name: str) -> None:
    """ModernBERT and Phi-3 compute gate and up in one module."""
    for named in find_projections(tiny(name)):
        assert named["gate"] == named["up"] != named["down"]


@pytest.mark.parametrize("name", WITH_CROSS_ATTENTION)
def test_cross_attention_is_not_taken_for_self_attention(name: str) -> None:
    """Every module that is found runs on a text, which never passes the second attention of the layers."""
    model = seeded(WITH_CROSS_ATTENTION[name])
    ran: list[nn.Module] = []
    for module in model.modules():
        module.register_forward_hook(lambda module, *_: ran.append(module))
    model(**padded(model, ragged()))
    found = [linear for linears in find_linear(model) for linear in linears.values()]
    assert len(found) >= 4 * N_LAYERS
    assert all(any(linear is own for own in ran) for linear in found)
    assert {"query", "key", "value"} <= set(find_projections(model)[0])


def test_every_listed_architecture_is_a_different_one() -> None:
    """The tests above do not run the same architecture under two names (DeBERTa's convolution is an option)."""
    types = [make().config.model_type for name, make in (ENCODERS | DECODERS).items() if name != "deberta_conv"]
    assert len(types) == len(set(types))


def test_encoder_decoder_is_refused_in_one_line() -> None:
    """T5 has two stacks; the message says what to give instead."""
    model = seeded(lambda: T5ForConditionalGeneration(t5()))
    with pytest.raises(
        UserError, match=r"one stack of layers.*T5ForConditional.*alone and put its adapter there"
    ) as refused:
        Backbone(model, None, "mean")
    assert "\n" not in str(refused.value)


def test_encoder_of_an_encoder_decoder_is_taken() -> None:
    """What the message of the test before advises works."""
    assert Backbone(seeded(lambda: T5EncoderModel(t5())), None, "mean").n_layers == N_LAYERS
