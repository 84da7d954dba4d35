"""What enters linear modules is seen once a batch, of real tokens only, and shared where modules share it."""

import pytest
import torch
from models import LANGUAGE_MODELS, ragged, seeded, tiny
from torch import Tensor

from layersel.backbone.backbone import Backbone
from layersel.backbone.inputs import seeing_inputs
from layersel.backbone.layers import find_linear


def test_modules_that_share_an_input_are_given_the_same() -> None:
    """Query, key and value, in each batch anew; the others have their own."""
    backbone = Backbone(tiny("bert"), pooling="mean")
    (linears, *_) = find_linear(backbone.model)
    seen: list[tuple[str, Tensor]] = []
    with seeing_inputs(backbone, linears, lambda *own: seen.append(own), "score", "another"), torch.no_grad():
        for _ in range(2):
            backbone(backbone.batch(ragged((3, 7))))
    assert len(seen) == 2 * len(linears) == 12
    assert all(own.shape[0] == 10 for _, own in seen)
    for batch in (seen[:6], seen[6:]):
        assert {name.split(".")[-1] for name, own in batch if own is batch[0][1]} == {"query", "key", "value"}
    assert len({id(own) for _, own in seen}) == 8


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_the_head_of_a_language_model_may_run_alone(name: str) -> None:
    """Within the block nothing but layers is looked at."""
    backbone = Backbone(seeded(LANGUAGE_MODELS[name]), pooling="last")
    (linears, *_) = find_linear(backbone.model)
    seen: list[str] = []
    with seeing_inputs(backbone, linears, lambda own, _: seen.append(own), "score", "another"):
        backbone.logits(backbone.last_states(backbone.batch(ragged((3, 7))))[0])
    assert sorted(seen) == sorted(linears)
