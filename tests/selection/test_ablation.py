"""Ablation: against models that never had the layer, with the passes that it takes."""

import copy
from collections.abc import Callable

import pytest
import torch
from labelled import loss_of, probe
from models import N_LAYERS, tiny
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor

from layersel.backbone.backbone import Backbone
from layersel.selection.score import LABELS, Probe, score_named
from layersel.selection.select import score_layers

BATCHES = ([0, 1], [2], [1, 3, 2])


def shorter(backbone: Backbone, layer: int) -> Backbone:
    """A copy of the model, in float64, that never had this layer."""
    model = copy.deepcopy(backbone.model).double()
    del Backbone(model, pooling="mean").layers[layer]
    model.config.num_hidden_layers -= 1
    return Backbone(model, pooling="mean")


def mean_loss(backbone: Backbone) -> float:
    """The mean of the losses that there are."""
    with torch.no_grad():
        losses = [loss_of(backbone)(texts) for texts in BATCHES]
    return float(torch.stack([loss for loss in losses if loss is not None]).mean())


@pytest.mark.parametrize("name", ["bert", "llama", "gpt2", "modernbert", "gemma3", "bert with lora"])
def test_equals_the_model_without_the_layer(name: str) -> None:
    """Of encoders and decoders, whatever their layers return, and of an adapted one with its adapter."""
    backbone = Backbone(tiny(name.split(maxsplit=1)[0]), pooling="mean")
    if name == "bert with lora":
        with torch.random.fork_rng():
            torch.manual_seed(0)
            adapter = LoraConfig(r=2, init_lora_weights=False, target_modules=["query", "dense"])
            inject_adapter_in_model(adapter, backbone.model)
    found = score_named("ablate").scores(backbone, probe(backbone, *BATCHES)).values_L
    whole = mean_loss(Backbone(copy.deepcopy(backbone.model).double(), pooling="mean"))
    expected = [mean_loss(shorter(backbone, layer)) - whole for layer in range(N_LAYERS)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-3, atol=1e-4)
    assert len(set(found.tolist())) == N_LAYERS


def test_a_layer_that_does_nothing_raises_no_loss() -> None:
    """Llama's layer 1 without what it adds: exactly 0, so that any other layer is chosen before one like it."""
    backbone = Backbone(tiny("llama"), pooling="mean")
    with torch.no_grad():
        for name, own in backbone.layers[1].named_parameters():
            if "o_proj" in name or "down_proj" in name:
                own.zero_()
    found = score_named("ablate").scores(backbone, probe(backbone, *BATCHES)).values_L
    assert [value == 0 for value in found.tolist()] == [False, True, False]


def test_it_takes_a_pass_for_each_layer_and_no_gradients() -> None:
    """One beside that of the whole model, over each batch; a skipped layer does not run; labels are all it needs."""
    backbone = Backbone(tiny("bert"), pooling="mean")
    score = score_named("ablate")
    assert score.needs == {LABELS}
    _ = backbone.without(0)  # finds out once how layers are skipped
    passes: list[str] = []
    handles = [
        part.register_forward_hook(lambda *_, name=name: passes.append(name))
        for name, part in [
            ("model", backbone.model),
            *((str(place), layer) for place, layer in enumerate(backbone.layers)),
        ]
    ]

    def without_gradients(loss: Callable[[list[int]], Tensor | None]) -> Callable[[list[int]], Tensor | None]:
        def own(texts: list[int]) -> Tensor | None:
            assert not torch.is_grad_enabled()
            return loss(texts)

        return own

    labelled = Probe([], torch.Generator(), list(BATCHES), without_gradients(loss_of(backbone)))
    found = score_layers(score, backbone, labelled)
    for handle in handles:
        handle.remove()
    assert passes.count("model") == (N_LAYERS + 1) * len(BATCHES)
    assert torch.equal(found.values_L, score_layers(score, backbone, labelled).values_L)
    assert found.modules == {}
