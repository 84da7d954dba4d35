"""A backbone with live merged weights is the merged model, its gradient is right, and nothing stays behind."""

from pathlib import Path

import pytest
import torch
from models import hooks_and_wrappers, padded, ragged, tiny
from torch import Tensor

from layersel.adapters.change import Change
from layersel.adapters.loading import load_adapter
from layersel.adapters.saving import save_lora
from layersel.backbone.backbone import Backbone
from layersel.errors import UserError
from layersel.merging.live import merged_live, module_layers
from layersel.merging.merge import merge_adapters
from layersel.merging.methods.task_arithmetic import TaskArithmetic

NAMES = ["bert", "gpt2", "llama"]


def backbone_of(name: str) -> Backbone:
    """A tiny one with mean pooling."""
    return Backbone(tiny(name), pooling="mean").eval()


def adapter(backbone: Backbone, seed: int, layers: list[int], rank: int = 2) -> dict[str, Change]:
    """Low-rank changes of the query and the last projection of these layers."""
    draws = torch.Generator().manual_seed(seed)
    changes = {}
    for layer in layers:
        for projection in ("query", "down"):
            name = backbone.projections[layer][projection]
            module = backbone.model.get_submodule(name)
            sizes = tuple(module.weight.shape)
            outputs, inputs = sizes if isinstance(module, torch.nn.Linear) else sizes[::-1]
            up, down = torch.randn(outputs, rank, generator=draws), torch.randn(rank, inputs, generator=draws)
            changes[name] = Change.low_rank(0.2 * up, 0.2 * down)
    return changes


def vectors(backbone: Backbone) -> Tensor:
    """Of four texts."""
    return backbone(padded(backbone.model, ragged()))


@pytest.mark.parametrize("name", NAMES)
def test_live_weights_are_merged_weights(name: str) -> None:
    """Of adapters of different layers with a λ for each layer; afterwards the model is as before."""
    backbone = backbone_of(name)
    adapters = [adapter(backbone, 1, [0, 1]), adapter(backbone, 2, [1, 2], rank=3)]
    layer_of, weights_TL = module_layers(backbone), torch.tensor([[0.5, 1.0, 9.0], [9.0, -0.3, 0.7]])
    before, hooks, keys = vectors(backbone), hooks_and_wrappers(backbone.model), list(backbone.state_dict())
    with merged_live(backbone, adapters, layer_of, weights_TL):
        live = vectors(backbone)
        assert list(backbone.state_dict()) == keys
    assert torch.equal(vectors(backbone), before)
    assert hooks_and_wrappers(backbone.model) == hooks
    assert list(backbone.state_dict()) == keys

    with torch.no_grad():
        for row, changes in enumerate(adapters):
            for module_name, change in changes.items():
                weight = backbone.model.get_submodule(module_name).weight
                change_OI = weights_TL[row, layer_of[module_name]] * change.dense
                weight += change_OI if weight.shape == change_OI.shape and name != "gpt2" else change_OI.T
    assert not torch.allclose(live, before, atol=1e-2)
    torch.testing.assert_close(live, vectors(backbone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "gpt2"])  # Llama's norms calculate in float32
def test_the_gradient_of_the_weights_is_that_of_finite_differences(name: str) -> None:
    """In float64; a layer that an adapter lacks has none, and the backbone's own parameters get none either."""
    backbone = backbone_of(name).double().requires_grad_(False)
    adapters, layer_of = [adapter(backbone, 1, [0, 1]), adapter(backbone, 2, [1, 2])], module_layers(backbone)

    def loss(weights_TL: Tensor) -> Tensor:
        with merged_live(backbone, adapters, layer_of, weights_TL):
            return vectors(backbone).sin().sum()

    weights_TL = torch.tensor([[0.5, 0.2, 0.9], [0.1, 0.3, 0.7]], dtype=torch.float64, requires_grad=True)
    loss(weights_TL).backward()
    numeric = torch.zeros_like(weights_TL)
    with torch.no_grad():
        for place in torch.cartesian_prod(torch.arange(2), torch.arange(3)).tolist():
            step = torch.zeros_like(weights_TL)
            step[tuple(place)] = 1e-5
            numeric[tuple(place)] = (loss(weights_TL + step) - loss(weights_TL - step)) / 2e-5
    torch.testing.assert_close(weights_TL.grad, numeric, rtol=1e-5, atol=1e-7)
    assert weights_TL.grad[0, 2] == weights_TL.grad[1, 0] == 0
    assert weights_TL.grad.count_nonzero() == 4


def test_the_suffix_alone_runs_with_them_too() -> None:
    """From the states that enter the lowest changed layer."""
    backbone = backbone_of("bert")
    batch, adapters = padded(backbone.model, ragged()), [adapter(backbone, 1, [1, 2])]
    with torch.no_grad(), merged_live(backbone, adapters, module_layers(backbone), torch.ones(1, 3)):
        torch.testing.assert_close(backbone(batch, 1, backbone.prefix(batch, 1)), backbone(batch))


def test_the_weights_return_after_an_error() -> None:
    """Within the block, and while it is being entered."""
    backbone = backbone_of("bert")
    before, layer_of = vectors(backbone), module_layers(backbone)
    with (
        pytest.raises(RuntimeError, match="within"),
        merged_live(backbone, [adapter(backbone, 1, [0])], layer_of, torch.ones(1, 3)),
    ):
        raise RuntimeError("within")
    assert torch.equal(vectors(backbone), before)
    changes = adapter(backbone, 1, [0, 1])
    changes[max(changes)] = Change(torch.ones(7, 7))
    with (
        pytest.raises(UserError, match=r"merging: .*1.* is 32 by 48 in this model but 7 by 7 in the adapters"),
        merged_live(backbone, [changes], layer_of, torch.ones(1, 3)),
    ):
        pass
    assert torch.equal(vectors(backbone), before)
    assert not any("weight" in vars(module) for module in backbone.modules())


def test_every_projection_has_its_layer() -> None:
    """Also of a model that fuses some in one module."""
    assert set(module_layers(backbone_of("gpt2")).values()) == {0, 1, 2}
    layers = module_layers(backbone_of("bert"))
    assert layers["encoder.layer.1.attention.self.query"] == 1
    assert len(layers) == 3 * 6


@pytest.mark.parametrize("name", NAMES)
def test_a_merged_adapter_saved_and_loaded_gives_the_live_vectors(name: str, tmp_path: Path) -> None:
    """From changes to a plain PEFT folder and back: adapters of different layers and ranks."""
    backbone = backbone_of(name)
    adapters = [adapter(backbone, 1, [0, 1]), adapter(backbone, 2, [1, 2], rank=3)]
    layer_of, weights_TL = module_layers(backbone), torch.tensor([[0.5], [0.7]]).expand(2, 3)
    with merged_live(backbone, adapters, layer_of, weights_TL):
        live = vectors(backbone)
    result = merge_adapters(TaskArithmetic(rank=8), adapters, layer_of, torch.Generator(), weights_TL)
    assert result.total_lost < 1e-10
    save_lora(result.factors, tmp_path / "merged")
    load_adapter(backbone, tmp_path / "merged")
    torch.testing.assert_close(vectors(backbone), live, rtol=1e-4, atol=1e-5)
