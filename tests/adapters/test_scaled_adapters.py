"""Adapters of every kind that PEFT places can be turned down."""

import pytest
import torch
from models import tiny
from placing import adapter_of, selection_of, vectors_of

from layersel.backbone.backbone import Backbone
from layersel.backbone.modes import adapters_off, adapters_scaled
from layersel.seeding import stream


@pytest.mark.parametrize("kind", ["lora", "dora", "ia3", "oft", "vera", "fourierft", "shira"])
def test_scaling_goes_from_off_to_on(kind: str) -> None:
    """With 0 the adapters are off, with 1 on; in between they are in between, and afterwards all is as before."""
    model = tiny("bert")
    backbone, generator = Backbone(model, pooling="mean"), stream(0, "adapter")
    adapter_of(kind, model).place(backbone, selection_of(model), generator)
    with torch.no_grad():
        for parameter in backbone.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)
    on = vectors_of(backbone)
    with adapters_off(backbone.model):
        off = vectors_of(backbone)
    assert not torch.allclose(on, off, atol=1e-3)
    for factor, expected in ((0.0, off), (1.0, on)):
        with adapters_scaled(backbone.layers, factor):
            torch.testing.assert_close(vectors_of(backbone), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(vectors_of(backbone), on)
    assert not any(own._forward_hooks for own in backbone.modules())
