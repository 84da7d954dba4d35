"""Scores of a short training equal naive references, whoever has trained; what does not train is refused."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from models import N_LAYERS, ragged, tiny
from resamples import drawing
from torch import Tensor

from layersel.backbone.backbone import Backbone
from layersel.backbone.encode import token_batches
from layersel.backbone.layers import find_linear, linear_modules, weight_OI
from layersel.errors import UserError
from layersel.selection.score import LayerScores, Probe, WarmedUp, score_named
from layersel.selection.select import make_selection, select_layers
from layersel.selection.selection import Selection

TOKENS = ragged((7, 12, 5, 9), cls=2)
NAMES = ("drift", "lora_drop", "reinitialise")
Factors = dict[str, tuple[Tensor, Tensor]]


@pytest.fixture(params=["bert", "llama", "gpt2"])
def backbone(request: pytest.FixtureRequest) -> Backbone:
    """A tiny encoder or decoder; GPT-2 keeps its weights turned."""
    return Backbone(tiny(request.param), pooling="mean")


def drawn(backbone: Backbone, rank: int = 2) -> Factors:
    """Factors for the attention modules of every layer, larger from layer to layer."""
    generator = torch.Generator().manual_seed(0)
    modules = [(layer, name) for layer, named in enumerate(backbone.projections) for name in {named["query"]: 0}]
    shapes = {name: (layer, weight_OI(linear_modules(backbone.model)[name]).shape) for layer, name in modules}
    return {
        name: (
            (1 + layer) * 0.1 * torch.randn(outputs, rank, generator=generator),
            torch.randn(rank, inputs, generator=generator),
        )
        for name, (layer, (outputs, inputs)) in shapes.items()
    }


def loss_of(backbone: Backbone, texts: list[int]) -> Tensor | None:
    """A loss of some texts, which is undefined for less than two."""
    vectors = backbone(backbone.batch([TOKENS[text] for text in texts]))
    return None if len(texts) < 2 else (vectors[0] * vectors[1]).sum() + vectors.square().mean()


def probe(backbone: Backbone, factors: Factors, *labelled: list[int]) -> Probe:
    """A probe whose warm-up gives these factors, which are added by hooks."""

    @contextmanager
    def warm_up(*_: Any) -> Iterator[WarmedUp]:
        on, handles = set(range(N_LAYERS)), []

        @contextmanager
        def without(layer: int) -> Iterator[None]:
            on.remove(layer)
            yield
            on.add(layer)

        for layer, linears in enumerate(find_linear(backbone.model)):
            for name in linears.keys() & factors.keys():

                def add(_: Any, inputs: Any, output: Tensor, own: Any = (layer, *factors[name])) -> Tensor:
                    layer, up_OR, down_RI = own
                    return output + inputs[0] @ down_RI.T @ up_OR.T if layer in on else output

                handles.append(linears[name].register_forward_hook(add))
        yield WarmedUp(factors, lambda batch: loss_of(backbone, batch), without)
        for handle in handles:
            handle.remove()

    batches = token_batches(backbone, TOKENS)
    return Probe(batches, torch.Generator(), labelled, lambda batch: loss_of(backbone, batch), warm_up)


def scored(name: str, backbone: Backbone, factors: Factors, **options: Any) -> LayerScores:
    """The scores by these factors."""
    return score_named(name, **options).scores(backbone, probe(backbone, factors, [0, 1], [2], [3, 1]))


def changed(backbone: Backbone, factors: Factors, but_for: int | None = None) -> Backbone:
    """A copy with the products of the factors in its weights, those of one layer left out."""
    adapted = copy.deepcopy(backbone)
    for layer, linears in enumerate(find_linear(adapted.model)):
        for name in linears.keys() & factors.keys():
            if layer != but_for:
                up_OR, down_RI = factors[name]
                weight_OI(linears[name]).data.add_(up_OR @ down_RI)
    return adapted


def layers_of(backbone: Backbone, factors: Factors) -> list[list[str]]:
    """The names of the adapted modules of each layer."""
    return [[name for name in linears if name in factors] for linears in find_linear(backbone.model)]


@pytest.mark.parametrize("relative", [False, True])
def test_drift_is_the_norm_of_the_change(backbone: Backbone, relative: bool) -> None:
    """Of the dense ΔW of a layer's matrices in one vector, and of each; another basis of the factors is the same."""
    factors = drawn(backbone)
    found = scored("drift", backbone, factors, relative=relative)
    weights = {name: weight_OI(linear).detach().double() for name, linear in linear_modules(backbone.model).items()}
    dense = {name: up_OR.double() @ down_RI.double() for name, (up_OR, down_RI) in factors.items()}

    def norm(names: list[str]) -> Tensor:
        moved = torch.cat([dense[name].flatten() for name in names]).norm()
        return moved / torch.cat([weights[name].flatten() for name in names]).norm() if relative else moved

    expected = torch.stack([norm(own) for own in layers_of(backbone, factors)])
    torch.testing.assert_close(found.values_L, expected)
    assert found.modules == pytest.approx({name: float(norm([name])) for name in factors})
    turned = torch.linalg.qr(torch.randn(2, 2, generator=torch.Generator().manual_seed(1)))[0]
    other = {name: (up_OR @ turned, turned.T @ down_RI) for name, (up_OR, down_RI) in factors.items()}
    torch.testing.assert_close(
        scored("drift", backbone, other, relative=relative).values_L, expected, rtol=1e-5, atol=0
    )


def test_lora_drop_is_the_share_of_the_squared_outputs(backbone: Backbone) -> None:
    """Text by text without padding, by dense ΔW, through a model with the change in its weights."""
    factors, sums, seen = drawn(backbone), {}, {}
    found = scored("lora_drop", backbone, factors)
    adapted = changed(backbone, factors)
    linears = linear_modules(adapted.model)
    for name in factors:
        linears[name].register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args[0]}))
    for tokens in TOKENS:
        with torch.no_grad():
            adapted.eval()(adapted.batch([tokens]))
        for name, (up_OR, down_RI) in factors.items():
            outputs = seen[name].double() @ (up_OR.double() @ down_RI.double()).T
            sums[name] = sums.get(name, 0) + float(outputs.square().sum())
    shares = {name: own / sum(sums.values()) for name, own in sums.items()}
    assert found.modules == pytest.approx(shares, rel=1e-4)
    expected = [sum(shares[name] for name in own) for own in layers_of(backbone, factors)]
    assert found.values_L.tolist() == pytest.approx(expected, rel=1e-4)
    assert float(found.values_L.sum()) == pytest.approx(1)


def test_lora_drop_scales_out(backbone: Backbone) -> None:
    """Shares are what they were where every ΔW is a hair of it, so that only the inputs could differ."""
    small = {name: (1e-6 * up_OR, down_RI) for name, (up_OR, down_RI) in drawn(backbone).items()}
    smaller = {name: (0.5 * up_OR, down_RI) for name, (up_OR, down_RI) in small.items()}
    first, second = (scored("lora_drop", backbone, own).values_L for own in (small, smaller))
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-6)


def test_reinitialise_is_the_rise_of_the_loss(backbone: Backbone) -> None:
    """By models with the change in their weights, in all layers but one; the batch without a loss does not count."""
    factors = drawn(backbone)
    found = scored("reinitialise", backbone, factors).values_L

    def mean(but_for: int | None) -> Tensor:
        adapted = changed(backbone, factors, but_for).eval()
        with torch.no_grad():
            return torch.stack([loss_of(adapted, [0, 1]), loss_of(adapted, [3, 1])]).double().mean()  # type: ignore[list-item]

    expected = torch.stack([mean(layer) - mean(None) for layer in range(N_LAYERS)])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert len(set(found.tolist())) == N_LAYERS


def test_resamples_are_scores_of_what_was_drawn(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sample's score is that of its texts or labelled batches, after the same warm-up."""
    factors, rows = drawn(backbone), [[0, 0, 3, 3], [1, 2, 2, 1]]
    whole = replace(
        probe(backbone, factors, [0, 1], [2], [3, 1], [1, 2], [0, 3]),
        batches=[backbone.batch(TOKENS[:3]), backbone.batch(TOKENS[3:])],
    )
    batches = [batch for batch in whole.labelled if len(batch) > 1]
    drawing(rows, monkeypatch)
    for name in ("lora_drop", "reinitialise"):
        found = score_named(name).scores(backbone, whole).resampled_SL
        for own, some in zip(found, rows, strict=True):
            texts = [backbone.batch([TOKENS[text] for text in some])]
            again = replace(whole, batches=texts, labelled=[batches[batch] for batch in some])
            values_L = score_named(name, bootstrap=0).scores(backbone, again).values_L
            torch.testing.assert_close(own, values_L, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(*found, rtol=1e-3)


@pytest.mark.parametrize("loss", [lambda _: None, lambda _: torch.tensor(torch.inf)])
def test_a_loss_that_is_none_or_not_finite_is_an_error(backbone: Backbone, loss: Any) -> None:
    """No layer could be told from another."""

    @contextmanager
    def warm_up(*_: Any) -> Iterator[WarmedUp]:
        yield WarmedUp({}, loss, lambda _: pytest.fail("it has no loss to compare with"))

    with pytest.raises(UserError, match=r"^selection(\.batches: no labelled batch|: the loss is not finite)"):
        score_named("reinitialise").scores(backbone, Probe([], torch.Generator(), [[0, 1]], loss, warm_up))


@pytest.mark.parametrize("name", NAMES)
def test_the_choice_is_by_the_score_and_twice_the_same(name: str, backbone: Backbone) -> None:
    """The highest layer wins; what a score is given of options goes into the warm-up."""
    seen: list[Any] = []
    own = probe(backbone, drawn(backbone), [0, 1])

    def warm_up(*options: Any) -> Any:
        seen.append(options)
        return own.warm_up(*options)

    score = score_named(name, n=1, steps=7, rank=3, projections=["query"])

    def choose() -> Selection:
        return make_selection(
            backbone, score, Probe(own.batches, torch.Generator(), own.labelled, own.loss, warm_up=warm_up)
        )

    first, again = choose(), choose()
    assert first == again
    assert first.layers == [max(range(N_LAYERS), key=lambda layer: first.scores[layer])]
    assert seen == [(7, 3, ["query"])] * 2


@pytest.mark.parametrize("name", NAMES)
def test_where_nothing_trains_it_is_refused(name: str, backbone: Backbone) -> None:
    """The library's door has no task, whose loss is what a warm-up goes by."""
    line = rf"^selection={name}: expected a score that needs no more than .* warm_up; use another one, such as cka$"
    with pytest.raises(UserError, match=line):
        select_layers(backbone.model, [backbone.batch(TOKENS)], score=name, pooling="mean")


@pytest.mark.parametrize("name", NAMES)
def test_wrong_options_are_told_in_one_line_each(name: str) -> None:
    """Those of a base class too."""
    found = score_named(name, n=-1, steps=0, rank=0, projections=[]).problems()
    assert [line.partition(":")[0] for line in found] == [
        f"selection.{own}" for own in ("n", "steps", "rank", "projections")
    ]
    (line,) = score_named(name, projections=["query", "head"]).problems()
    assert line.startswith("selection.projections: expected one of query, ")
    assert score_named(name, steps=None, rank=4, projections=["up"]).problems() == []
