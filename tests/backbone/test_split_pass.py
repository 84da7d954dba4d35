"""A pass cut at any layer equals the whole pass, for every architecture, and leaves no trace in the model."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import Mock

import pytest
import torch
from models import DECODERS, N_LAYERS, hooks_and_wrappers, padded, ragged, seeded, t5, tiny
from torch import nn
from transformers import PreTrainedModel, T5EncoderModel

from layersel.backbone.backbone import Backbone
from layersel.backbone.prefix import PrefixCache
from layersel.errors import UserError

every_start = pytest.mark.parametrize("start", range(N_LAYERS))


class _BrokenError(Exception):
    pass


@contextmanager
def _failing(layer: nn.Module) -> Iterator[None]:
    """`layer` raises when it is entered."""

    def fail(*_: object) -> None:
        raise _BrokenError

    handle = layer.register_forward_pre_hook(fail)
    try:
        yield
    finally:
        handle.remove()


@every_start
def test_prefix_and_suffix_equal_the_whole_pass(shared_model: PreTrainedModel, start: int) -> None:
    """Texts of 3 to 30 tokens in one batch; the mean over all real tokens sees every one of them."""
    backbone = Backbone(shared_model, None, "mean")
    batch = padded(shared_model, ragged())
    with torch.no_grad():
        whole = backbone(batch)
        split = backbone(batch, start, backbone.prefix(batch, start))
    torch.testing.assert_close(split, whole, rtol=0, atol=1e-6)


def test_the_suffix_depends_on_the_states_it_is_given(shared_model: PreTrainedModel) -> None:
    """The layers below are really skipped: other states give other vectors, the token ids do not matter."""
    backbone = Backbone(shared_model, None, "mean")
    batch, other = (padded(shared_model, ragged(seed=seed)) for seed in (0, 1))
    with torch.no_grad():
        states = backbone.prefix(batch, 1)
        assert not torch.allclose(backbone(batch, 1, 2 * states), backbone(batch), atol=1e-3)
        torch.testing.assert_close(backbone(other, 1, states), backbone(batch), rtol=0, atol=1e-6)


def test_the_prefix_is_the_hidden_state_of_that_depth(shared_model: PreTrainedModel) -> None:
    """Reference: the model's own `hidden_states`."""
    backbone = Backbone(shared_model, None, "mean")
    batch = padded(shared_model, ragged())
    real = batch["attention_mask"].bool()
    with torch.no_grad():
        hidden = shared_model.base_model(**batch, output_hidden_states=True).hidden_states
        for start in range(N_LAYERS):
            torch.testing.assert_close(backbone.prefix(batch, start)[real], hidden[start][real], rtol=0, atol=1e-6)


def test_gradients_of_the_suffix_are_those_of_the_whole_pass(fresh_model: PreTrainedModel) -> None:
    """They reach all parameters of the suffix with the same values, and none below it."""
    start = 1
    backbone = Backbone(fresh_model, None, "mean")
    batch = padded(fresh_model, ragged())
    layers = list(backbone.layers[start:].parameters())

    backbone(batch).square().sum().backward()
    whole = [parameter.grad.clone() for parameter in layers]
    fresh_model.zero_grad()
    with torch.no_grad():
        states = backbone.prefix(batch, start)
    backbone(batch, start, states).square().sum().backward()

    for parameter, expected in zip(layers, whole, strict=True):
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-5)
    below = [*backbone.layers[:start].parameters(), *fresh_model.base_model.get_input_embeddings().parameters()]
    assert all(parameter.grad is None for parameter in below)


def test_a_failed_pass_leaves_no_bypass_and_no_hook(fresh_model: PreTrainedModel) -> None:
    """Prefix, suffix and observation break in the last layer; afterwards the model is what it was."""
    backbone = Backbone(fresh_model, None, "mean")
    batch = padded(fresh_model, ragged())
    with torch.no_grad():
        whole, states = backbone(batch), backbone.prefix(batch, 1)
        before = hooks_and_wrappers(fresh_model)
        with _failing(backbone.layers[-1]), pytest.raises(_BrokenError):
            backbone(batch, 1, states)
        with _failing(backbone.layers[-1]), pytest.raises(_BrokenError):
            backbone.pooled_states(batch)
        with _failing(backbone.layers[0]), pytest.raises(_BrokenError):
            backbone.prefix(batch, 1)
        assert hooks_and_wrappers(fresh_model) == before
        assert torch.equal(backbone(batch), whole)


def test_a_successful_pass_leaves_no_bypass_and_no_hook(shared_model: PreTrainedModel) -> None:
    """Without an error this holds, too."""
    backbone = Backbone(shared_model, None, "mean")
    batch = padded(shared_model, ragged())
    before = hooks_and_wrappers(shared_model)
    with torch.no_grad():
        backbone(batch, 2, backbone.prefix(batch, 2))
        backbone.pooled_states(batch)
    assert hooks_and_wrappers(shared_model) == before


def test_a_layers_own_forward_returns_after_the_bypass() -> None:
    """Accelerate and others wrap `forward` on the instance; a bypass must not lose the wrapper."""
    model = tiny("bert")
    backbone = Backbone(model, None, "mean")
    layer = backbone.layers[0]
    wrapper = Mock(wraps=layer.forward)
    layer.forward = wrapper
    batch = padded(model, ragged())
    with torch.no_grad():
        states = backbone.prefix(batch, 1)
        backbone(batch, 1, states)
        wrapper.reset_mock()
        backbone(batch, 1, states)
        wrapper.assert_not_called()
        backbone(batch)
    wrapper.assert_called_once()
    assert layer.forward is wrapper


def test_a_model_whose_layers_share_more_than_states_is_refused() -> None:
    """T5 hands a position bias from its first layer to the others: a suffix alone would be silently wrong."""
    model = seeded(lambda: T5EncoderModel(t5()))
    backbone = Backbone(model, None, "mean")
    batch = padded(model, ragged())
    with torch.no_grad(), pytest.raises(UserError, match=r"more than hidden states.*start=0"):
        backbone(batch, 1, backbone.prefix(batch, 1))
    with torch.no_grad():
        whole = PrefixCache(backbone, ragged(), start=0, max_bytes=2**20).vectors([0, 1, 2, 3])
        torch.testing.assert_close(whole, backbone(batch), rtol=0, atol=1e-5)


def test_finding_out_how_to_split_draws_no_random_numbers(global_rng_untouched: None) -> None:
    """The first suffix of a training run must not shift the dropout of the ones after it, nor end training mode."""
    model = tiny("deberta")
    backbone = Backbone(model, None, "mean")
    backbone.train_suffix(2)
    modes = [module.training for module in model.modules()]
    assert backbone._layer_arity == 2
    assert [module.training for module in model.modules()] == modes


@every_start
def test_train_suffix_leaves_the_prefix_in_evaluation_mode(start: int) -> None:
    """The prefix, without dropout, is then the same in every pass."""
    backbone = Backbone(tiny("bert"), None, "mean").train()
    backbone.train_suffix(start)
    assert [layer.training for layer in backbone.layers] == [index >= start for index in range(N_LAYERS)]
    assert not backbone.model.embeddings.training


@pytest.mark.parametrize("name", DECODERS)
def test_decoders_keep_no_key_value_cache(name: str) -> None:
    """A cache would cost memory, and the skipped layers would leave holes in it."""
    model = tiny(name)
    seen = []
    handle = model.register_forward_hook(lambda _, __, output: seen.append(output.past_key_values))
    with torch.no_grad():
        Backbone(model, None, "last")(padded(model, ragged()))
    handle.remove()
    assert seen == [None]
