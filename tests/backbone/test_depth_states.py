"""The pooled states of all depths against the model's own `hidden_states`."""

import pytest
import torch
from models import N_LAYERS, WIDTH, padded, ragged, tiny
from torch import Tensor, nn
from transformers import PreTrainedModel

from layersel.backbone.backbone import Backbone
from layersel.backbone.encode import layer_representations
from layersel.backbone.pooling import POOLINGS


def _final_norm(model: PreTrainedModel) -> nn.Module:
    """The norm after the last layer, which Hugging Face counts to its last hidden state; most encoders have none."""
    named = dict(model.base_model.named_children())
    return next((named[name] for name in ("norm", "ln_f", "final_norm") if name in named), nn.Identity())


def _pooled(model: PreTrainedModel, pooling: str, **options: bool) -> tuple[Tensor, list[Tensor]]:
    """The states under test, and the reference that the model gives itself."""
    backbone = Backbone(model, None, pooling)
    batch = padded(model, ragged())
    with torch.no_grad():
        hidden = model.base_model(**batch, output_hidden_states=True).hidden_states
        return backbone.pooled_states(batch, **options), [
            backbone.pool(depth, batch["attention_mask"]) for depth in hidden
        ]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_states_of_all_depths_are_the_models_hidden_states(shared_model: PreTrainedModel, pooling: str) -> None:
    """L+1 depths; all but the last, where a final norm may stand between, agree."""
    states, reference = _pooled(shared_model, pooling)
    assert states.shape == (N_LAYERS + 1, 4, WIDTH)
    assert len(reference) == N_LAYERS + 1
    torch.testing.assert_close(states[:-1], torch.stack(reference[:-1]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("pooling", ["cls", "last"])
def test_the_last_depth_is_the_last_layers_output_before_any_final_norm(
    shared_model: PreTrainedModel, pooling: str
) -> None:
    """After that norm, if there is one, it is the model's last hidden state and the backbone's vector."""
    states, reference = _pooled(shared_model, pooling)
    with torch.no_grad():
        normed = _final_norm(shared_model)(states[-1])
        vectors = Backbone(shared_model, None, pooling)(padded(shared_model, ragged()))
    torch.testing.assert_close(normed, reference[-1], rtol=0, atol=1e-5)
    torch.testing.assert_close(normed, vectors, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_behind_the_final_norm_all_depths_are_the_models_hidden_states(
    shared_model: PreTrainedModel, pooling: str
) -> None:
    """The last one too, as the library gives it."""
    states, reference = _pooled(shared_model, pooling, final_norm=True)
    torch.testing.assert_close(states, torch.stack(reference), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "deberta", "deberta_conv"])
def test_without_a_final_norm_the_last_depth_is_the_vector(name: str) -> None:
    """This holds for the mean over tokens, too."""
    states, reference = _pooled(tiny(name), "mean")
    torch.testing.assert_close(states[-1], reference[-1], rtol=0, atol=1e-6)


def test_representations_of_several_batches_are_those_of_one() -> None:
    """(L+1)×n×D in the order of the batches; modes and gradients as before."""
    model = tiny("bert").train()
    backbone = Backbone(model, None, "mean")
    texts = ragged([9] * 6)
    together = layer_representations(backbone, [padded(model, texts)], "test")
    apart = layer_representations(backbone, [padded(model, texts[:4]), padded(model, texts[4:])], "test")
    assert together.shape == (N_LAYERS + 1, 6, WIDTH)
    torch.testing.assert_close(together, apart, rtol=0, atol=1e-5)
    assert not together.requires_grad
    assert model.training
    assert backbone.layers[0].training
