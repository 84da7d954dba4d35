"""Layers that are compiled for a training: the same numbers, and plain layers afterwards."""

from functools import partial

import pytest
import torch
from models import llama, ragged, seeded
from torch import Tensor
from transformers import LlamaModel

from layersel.backbone.backbone import Backbone
from layersel.training import compiling
from layersel.training.compiling import compiled, has_compiler
from layersel.training.options import TrainerOptions


def _gradient(backbone: Backbone, texts: int) -> tuple[Tensor, Tensor]:
    backbone.zero_grad()
    batch = backbone.batch(ragged()[:texts])
    loss = backbone.last_states(batch, 1, backbone.prefix(batch, 1).detach()).square().mean()
    loss.backward()
    gradient = backbone.layers[2].self_attn.q_proj.weight.grad
    return loss.detach(), gradient.clone()


def test_numbers_are_the_same_up_to_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a prefix too, for batches of other shapes; PyTorch traces the layers, and leaves them as they are here."""
    traced: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> object:
        traced.append(len(inputs))
        return graph.forward

    monkeypatch.setattr(compiling.torch, "compile", partial(torch.compile, backend=backend))
    backbone = Backbone(seeded(lambda: LlamaModel(llama())), pooling="last")
    expected = [_gradient(backbone, texts) for texts in (2, 4)]
    with compiled(backbone.layers):
        found = [_gradient(backbone, texts) for texts in (2, 4)]
    assert traced
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other)
    assert not any("forward" in vars(layer) for layer in backbone.layers)


def test_a_cpu_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one the machine is refused before anything begins."""
    options = TrainerOptions(accelerator="cpu", compile=True)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert not has_compiler()
    (line,) = options.machine_problems()
    assert line.startswith("trainer.compile: expected a compiler of C++")
    assert TrainerOptions(accelerator="cpu").machine_problems() == []
