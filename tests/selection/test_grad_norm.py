"""The gradient norm equals autograd by hand, leaves the model as it was, and is refused where there are no labels."""

import pytest
import torch
from labelled import TOKENS, loss_of, probe
from models import tiny

from layersel.backbone.backbone import Backbone
from layersel.errors import UserError
from layersel.selection.score import GRADIENTS, LABELS, STATES, WARM_UP, Probe, score_named
from layersel.selection.select import make_selection, select_layers


@pytest.fixture(params=["bert", "llama", "gpt2"])
def backbone(request: pytest.FixtureRequest) -> Backbone:
    """A tiny encoder or decoder."""
    return Backbone(tiny(request.param), pooling="mean")


def test_equals_autograd(backbone: Backbone) -> None:
    """The mean loss of the batches that have one, backward at once; norms summed over each layer's matrices."""
    found = score_named("grad_norm").scores(backbone, probe(backbone, [0, 1], [2], [1, 3])).values_L
    loss = loss_of(backbone)
    parts = [loss([0, 1]), loss([1, 3])]
    backbone.zero_grad()
    (sum(parts) / 2).backward()  # type: ignore[operator, union-attr]
    expected = [
        sum(own.grad.norm() for own in layer.parameters() if own.ndim > 1 and own.grad is not None)
        for layer in backbone.layers
    ]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-4, atol=1e-6)
    assert bool((found > 0).all())


def test_it_chooses_the_layers_with_most(backbone: Backbone) -> None:
    """A second call chooses the same, within the budget."""
    first, again = (make_selection(backbone, score_named("grad_norm", n=1), probe(backbone, [0, 1])) for _ in range(2))
    assert first == again
    assert first.layers == [max(range(backbone.n_layers), key=lambda layer: first.scores[layer])]
    assert first.stability is None


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("grad_norm", {LABELS, GRADIENTS}),
        ("ablate", {LABELS}),
        ("cka", {STATES}),
        ("drift", {WARM_UP}),
        ("lora_drop", {WARM_UP, STATES}),
        ("reinitialise", {WARM_UP, LABELS}),
        ("last", set()),
        ("random", set()),
    ],
)
def test_needs_are_declared(name: str, needs: set[str]) -> None:
    """Those of a score that looks at nothing are none."""
    assert score_named(name).needs == needs


def test_what_a_probe_does_not_offer_is_refused(backbone: Backbone) -> None:
    """The cell's probe and the library's front door refuse it in one line."""
    unlabelled = Probe([backbone.batch(TOKENS)], torch.Generator())
    line = r"^selection=grad_norm: expected a score .* but it needs gradients, labels; use another one, such as cka$"
    with pytest.raises(UserError, match=line):
        make_selection(backbone, score_named("grad_norm"), unlabelled)
    with pytest.raises(UserError, match=line):
        select_layers(backbone.model, [backbone.batch(TOKENS)], score="grad_norm", pooling="mean")
