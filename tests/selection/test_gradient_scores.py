"""Scores by gradients of the loss: against naive float64 references, real LoRAs, and what they must not depend on."""

import copy
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pytest
import torch
from labelled import TOKENS, loss_of, probe
from models import hooks_and_wrappers, tiny
from numpy.typing import NDArray
from peft import LoraConfig, inject_adapter_in_model
from resamples import drawing
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from layersel.backbone.backbone import Backbone
from layersel.backbone.inputs import seeing_inputs
from layersel.backbone.layers import find_linear
from layersel.errors import UserError
from layersel.selection.gradients import see_gradients
from layersel.selection.measures.second_moments import SecondMoments
from layersel.selection.score import LABELS, WARM_UP, LayerScores, Probe, score_named, score_names
from layersel.selection.scores.resnorm import residual_norm

Array = NDArray[np.float64]
BATCHES = ([0, 1], [2], [1, 3, 2])
RESAMPLED = ["fisher", "page", "relative_grad_norm", "ablate"]
LABELLED = [name for name in score_names() if LABELS in (needs := score_named(name).needs) and WARM_UP not in needs]


@pytest.fixture(params=["bert", "llama", "gpt2"])
def backbone(request: pytest.FixtureRequest) -> Backbone:
    """A tiny encoder or decoder; GPT-2 keeps its weights turned and fuses query, key and value."""
    return Backbone(tiny(request.param), pooling="mean")


class Linear(NamedTuple):
    """What there is to know of one linear module, outputs × inputs: weight, gradients by batch, second moment."""

    weight: Array
    gradients: list[Array]
    moment: Array


def naive(backbone: Backbone) -> list[dict[str, Linear]]:
    """Takes each layer's linear modules apart in float64, batch by batch, and their inputs text by text."""
    double = copy.deepcopy(backbone).double()
    stack = next(name for name, part in double.model.named_modules() if part is double.layers)
    found: list[dict[str, Linear]] = [{} for _ in double.layers]
    inputs: dict[str, list[Array]] = {}
    gradients: dict[str, list[Array]] = {}
    modules = {
        name: part
        for name, part in double.model.named_modules()
        if isinstance(part, nn.Linear | Conv1D) and stack in name
    }

    def turned(module: nn.Module, matrix: Tensor) -> Array:
        array: Array = matrix.detach().numpy().copy()
        return array.T if isinstance(module, Conv1D) else array

    for texts in BATCHES:
        loss = loss_of(double)(texts)
        if loss is not None:
            double.zero_grad()
            loss.backward()
            for name, module in modules.items():
                gradients.setdefault(name, []).append(turned(module, module.weight.grad))
        for text in texts:
            handles = [
                module.register_forward_pre_hook(
                    lambda _, args, name=name: inputs.setdefault(name, []).append(args[0][0].detach().numpy())
                )
                for name, module in modules.items()
            ]
            double(double.batch([TOKENS[text]]))
            for handle in handles:
                handle.remove()
    for name, module in modules.items():
        tokens = np.concatenate(inputs[name])
        moment = tokens.T @ tokens / len(tokens)
        found[int(name.removeprefix(f"{stack}.").split(".")[0])][name] = Linear(
            turned(module, module.weight), gradients[name], moment
        )
    return found


def whitened(own: Linear, ridge: float = 0.01) -> float:
    """‖Ḡ(Σ + λ)^{−1/2}‖² by the eigenvectors of Σ, λ a share of the mean of its diagonal."""
    values, vectors = np.linalg.eigh(own.moment)
    inverse_root = vectors / np.sqrt(values + ridge * values.mean()) @ vectors.T
    return float(np.linalg.norm(np.mean(own.gradients, axis=0) @ inverse_root) ** 2)


def expected(name: str, linears: list[Linear]) -> float:
    """The definition of a score, of some modules together."""
    means = [np.mean(own.gradients, axis=0) for own in linears]
    products = np.concatenate([(own.weight * mean).ravel() for own, mean in zip(linears, means, strict=True)])
    by_batch = zip(*([np.sum(each**2) for each in own.gradients] for own in linears), strict=True)
    by_batch_squares = [float(sum(squares)) for squares in by_batch]
    size = sum(np.sum(own.weight**2) for own in linears)
    return {
        "grad_norm": lambda: sum(np.linalg.norm(mean) for mean in means),
        "relative_grad_norm": lambda: np.mean([np.sqrt(squares / size) for squares in by_batch_squares]),
        "fisher": lambda: np.mean(by_batch_squares),
        "page": lambda: sum(
            np.mean([np.sum(each**2) for each in own.gradients]) / (3 * own.weight.shape[1]) for own in linears
        ),
        "gora": lambda: np.mean(np.abs(products)),
        "gora frobenius": lambda: np.linalg.norm(products),
        "resnorm": lambda: np.sqrt(sum(whitened(own) for own in linears)),
    }[name]()


def scored(name: str, backbone: Backbone, *batches: list[int]) -> LayerScores:
    """The score of that name, its norm behind it if it has a choice."""
    name, _, norm = name.partition(" ")
    return score_named(name, **({"norm": norm} if norm else {})).scores(backbone, probe(backbone, *batches))


def test_scores_equal_their_definitions(backbone: Backbone) -> None:
    """Of layers and of modules, a batch without a loss left out of gradients; two batches in any order are the same."""
    layers = naive(backbone)
    for name in ("grad_norm", "relative_grad_norm", "fisher", "page", "gora", "gora frobenius", "resnorm"):
        found = scored(name, backbone, *BATCHES)
        values = [expected(name, list(layer.values())) for layer in layers]
        np.testing.assert_allclose(found.values_L.numpy(), values, rtol=2e-3, err_msg=name)
        modules = {module: expected(name, [own]) for layer in layers for module, own in layer.items()}
        assert found.modules == pytest.approx(modules, rel=2e-3, abs=1e-9), name
        assert found.values_L.dtype == torch.float64
        turned = scored(name, backbone, *BATCHES[::-1])
        torch.testing.assert_close(turned.values_L, found.values_L, rtol=1e-4, atol=0.0)


def test_page_is_the_gradient_of_a_new_lora(backbone: Backbone) -> None:
    """A LoRA of PEFT with thousands of random rows in A: the mean of ‖∇_B‖² over them, of each module."""
    rank, turned = 2048, backbone.model.config.model_type == "gpt2"
    found = scored("page", backbone, [0, 1]).modules
    with torch.random.fork_rng():
        torch.manual_seed(0)
        adapter = LoraConfig(r=rank, lora_alpha=rank, target_modules=list(found), fan_in_fan_out=turned)
        inject_adapter_in_model(adapter, backbone.model)
    loss = loss_of(backbone)([0, 1])
    assert loss is not None
    loss.backward()
    grown = {
        name.removesuffix(".lora_B.default.weight"): float(own.grad.square().sum()) / rank
        for name, own in backbone.model.named_parameters()
        if "lora_B" in name and own.grad is not None
    }
    assert grown == pytest.approx(found, rel=0.1)


def test_the_residual_norm_is_what_a_linear_map_explains() -> None:
    """For a squared loss the residual's own regression on the inputs; turned or scaled inputs change nothing."""
    generator = torch.Generator().manual_seed(0)
    inputs_NI, residual_NO = (torch.randn(50, width, generator=generator, dtype=torch.float64) for width in (6, 3))
    turn_II = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64)).Q

    def of(own_NI: Tensor, ridge: float = 1e-9) -> float:
        return residual_norm(residual_NO.T @ own_NI / 50, own_NI.T @ own_NI / 50, ridge)

    fitted_NO = inputs_NI @ torch.linalg.lstsq(inputs_NI, residual_NO).solution
    assert of(inputs_NI) == pytest.approx(float(fitted_NO.square().sum() / 50) ** 0.5)
    assert of(inputs_NI @ torch.randn(6, 6, generator=generator, dtype=torch.float64)) == pytest.approx(of(inputs_NI))
    for ridge in (0.01, 1.0):
        assert of(inputs_NI @ turn_II, ridge) == pytest.approx(of(inputs_NI, ridge))
        assert of(100 * inputs_NI, ridge) == pytest.approx(of(inputs_NI, ridge))
    twice_NI = inputs_NI[:, [0, 0, 1]]
    assert of(twice_NI) == pytest.approx(of(inputs_NI[:, :2]), rel=1e-6)
    assert of(0 * inputs_NI) == 0
    with pytest.raises(UserError, match=r"^selection\.ridge: expected .* but got 1e-30; raise it$"):
        of(twice_NI, ridge=1e-30)


def test_modules_that_share_an_input_share_its_moment() -> None:
    """Of a BERT's six modules a layer, three have one; all that enters later is added to the same."""
    backbone, seen = Backbone(tiny("bert"), pooling="mean"), SecondMoments()
    (linears, *_) = find_linear(backbone.model)
    with seeing_inputs(backbone, linears, seen.add, "score", "another"):
        for text in TOKENS:
            backbone(backbone.batch([text]))
    assert len(linears) == 6
    assert len(seen.sums) == 4
    query, key, value, output = (seen.mean(name) for name in list(linears)[:4])
    assert torch.equal(query, key)
    assert torch.equal(query, value)
    assert not torch.equal(query, output)


@pytest.mark.parametrize("name", RESAMPLED)
def test_resamples_are_scores_of_the_drawn_batches(
    name: str, backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As often as they were drawn; a batch without a loss is none of them."""
    batches, rows = [[0, 1], [1, 3, 2], [3, 0]], [[0, 0, 2], [1, 2, 2]]
    drawing(rows, monkeypatch)
    found = score_named(name).scores(backbone, probe(backbone, batches[0], [2], *batches[1:]))
    for own, drawn in zip(found.resampled_SL, rows, strict=True):
        values_L = score_named(name, bootstrap=0).scores(backbone, probe(backbone, *map(batches.__getitem__, drawn)))
        torch.testing.assert_close(own, values_L.values_L, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(*found.resampled_SL, rtol=1e-3)


@contextmanager
def counted(backbone: Backbone, calls: Counter[str]) -> Iterator[None]:
    """Within the block the passes of the model are counted."""
    handle = backbone.model.register_forward_pre_hook(lambda *_: calls.update(["forward"]))
    yield
    handle.remove()


@pytest.mark.parametrize("name", [name for name in LABELLED if name != "ablate"])
def test_a_batch_takes_one_pass(name: str) -> None:
    """Inputs, squares and mean gradients come out of the same one; the same call gives the same bits."""
    backbone, calls = Backbone(tiny("bert"), pooling="mean"), Counter[str]()
    with counted(backbone, calls):
        found = scored(name, backbone, *BATCHES)
    assert calls["forward"] == len(BATCHES)
    again = scored(name, backbone, *BATCHES)
    assert torch.equal(found.values_L, again.values_L)
    assert found.modules == again.modules


def test_one_batch_of_gradients_is_held() -> None:
    """Those of the former batch are gone when the next one passes."""
    backbone = Backbone(tiny("bert"), pooling="mean")
    former: list[weakref.ref[Tensor]] = []

    def loss(texts: list[int]) -> Tensor | None:
        assert all(own() is None for own in former)
        return loss_of(backbone)(texts)

    def see(gradients: dict[str, Tensor]) -> None:
        former[:] = [weakref.ref(own) for own in gradients.values()]

    see_gradients(backbone, Probe([], torch.Generator(), [[0, 1], [1, 2]], loss), see)
    assert former


@pytest.mark.parametrize("name", LABELLED)
def test_the_model_is_left_as_it_was(name: str, backbone: Backbone, global_rng_untouched: None) -> None:
    """Modes, flags, gradients, weights and hooks, after an error too, which is one line."""
    backbone.train()
    for number, own in enumerate(backbone.parameters()):
        own.requires_grad_(number % 2 == 0)
    flags = [own.requires_grad for own in backbone.parameters()]
    weights, hooks = copy.deepcopy(backbone.state_dict()), hooks_and_wrappers(backbone)
    score = score_named(name)
    score.scores(backbone, probe(backbone, [0, 1]))
    with pytest.raises(UserError, match=r"^selection\.batches: no labelled batch has a loss; [^\n]*$"):
        score.scores(backbone, probe(backbone, [0]))
    broken = Probe([], torch.Generator(), [[0, 1]], lambda texts: loss_of(backbone)(texts) * torch.nan)  # type: ignore[operator]
    with pytest.raises(UserError, match=r"^selection: [^\n]* not finite; [^\n]* such as cka$"):
        score.scores(backbone, broken)
    assert [own.requires_grad for own in backbone.parameters()] == flags
    assert all(own.grad is None for own in backbone.parameters())
    assert all(module.training for module in backbone.modules())
    assert hooks_and_wrappers(backbone) == hooks
    assert all(torch.equal(own, weights[key]) for key, own in backbone.state_dict().items())


@pytest.mark.parametrize("name", [name for name in LABELLED if name != "ablate"])
def test_modules_are_the_linear_ones(name: str) -> None:
    """By the names that ranks are given to; a matrix that is none of them, and no part of the loss, changes nothing."""
    backbone = Backbone(tiny("deberta"), pooling="mean")
    found = scored(name, backbone, [0, 1])
    assert list(found.modules) == [module for layer in find_linear(backbone.model) for module in layer]
    backbone.layers[0].register_parameter("table", nn.Parameter(torch.zeros(3, 3)))
    again = scored(name, backbone, [0, 1])
    assert again.modules == found.modules
    assert torch.equal(again.values_L, found.values_L)


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("gora", {"norm": "l1"}, "selection.norm: expected one of mean_abs, frobenius, but got 'l1'"),
        ("resnorm", {"ridge": 0.0}, "selection.ridge: expected a number above 0, but got 0"),
        ("page", {"batches": 0}, "selection.batches: expected at least 1, but got 0"),
    ],
)
def test_wrong_options_are_refused(name: str, options: dict[str, object], line: str) -> None:
    """In one line each, before a model is loaded."""
    assert score_named(name, **options).problems() == [line]


def test_many_batches_of_half_precision_have_the_mean_of_one() -> None:
    """Sums in bf16 would lose more with every batch."""
    backbone = Backbone(tiny("bert").bfloat16(), pooling="mean")
    for name in ("grad_norm", "gora", "resnorm"):
        once = scored(name, backbone, [0, 1]).values_L
        often = scored(name, backbone, *[[0, 1]] * 60).values_L
        torch.testing.assert_close(often, once, rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", ["grad_norm", "relative_grad_norm", "fisher"])
def test_packed_weights_are_refused(name: str) -> None:
    """Bytes have no gradient: PyTorch would say so in its own words."""
    backbone = Backbone(tiny("bert"), pooling="mean")
    module = backbone.layers[1].attention.self.query
    module.weight = torch.nn.Parameter(torch.zeros(16, 1, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(UserError, match=r"^selection: expected floating-point weights, .*query are packed"):
        scored(name, backbone, [0, 1])
