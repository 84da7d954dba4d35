"""The gradient norm equals autograd by hand, leaves the model as it was, and is refused where there are no labels."""

from collections.abc import Callable

import pytest
import torch
from models import ragged, tiny
from torch import Tensor

from layersel.backbone.backbone import Backbone
from layersel.errors import UserError
from layersel.selection.score import GRADIENTS, LABELS, STATES, WARM_UP, Probe, score_named
from layersel.selection.select import make_selection, select_layers

TOKENS = ragged((7, 12, 5, 9), cls=2)


@pytest.fixture(params=["bert", "llama", "gpt2"])
def backbone(request: pytest.FixtureRequest) -> Backbone:
    """A tiny encoder or decoder."""
    return Backbone(tiny(request.param), pooling="mean")


def loss_of(backbone: Backbone) -> Callable[[list[int]], Tensor | None]:
    """A loss of some texts, which is undefined for less than two."""

    def loss(texts: list[int]) -> Tensor | None:
        vectors = backbone(backbone.batch([TOKENS[text] for text in texts]))
        return None if len(texts) < 2 else (vectors[0] * vectors[1]).sum() + vectors.square().mean()

    return loss


def probe(backbone: Backbone, *batches: list[int]) -> Probe:
    """A probe of labelled batches alone."""
    return Probe([], torch.Generator().manual_seed(0), list(batches), loss_of(backbone))


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


def test_the_model_is_left_as_it_was(backbone: Backbone, global_rng_untouched: None) -> None:
    """Modes, flags and gradients, after an error too."""
    backbone.train()
    flags = [number % 2 == 0 for number, own in enumerate(backbone.parameters()) if own is not None]
    for own, flag in zip(backbone.parameters(), flags, strict=True):
        own.requires_grad_(flag)
    score = score_named("grad_norm")
    score.scores(backbone, probe(backbone, [0, 1]))
    with pytest.raises(UserError, match=r"^selection\.batches: no labelled batch has a loss"):
        score.scores(backbone, probe(backbone, [0]))
    assert [own.requires_grad for own in backbone.parameters()] == flags
    assert all(own.grad is None for own in backbone.parameters())
    assert all(module.training for module in backbone.modules())


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


def test_a_gradient_that_is_not_finite_is_an_error(backbone: Backbone) -> None:
    """Its norm would choose layers by chance."""
    broken = Probe([], torch.Generator(), [[0, 1]], lambda texts: loss_of(backbone)(texts) * torch.inf)  # type: ignore[operator]
    with pytest.raises(UserError, match="a gradient of the loss is not finite"):
        score_named("grad_norm").scores(backbone, broken)
