"""Outliers and PLoP: against loops over what enters each module, and what they must not depend on."""

import numpy as np
import pytest
import torch
from entering import TEXTS, entering, scored
from models import padded, tiny
from resamples import drawing
from transformers import PreTrainedModel

from layersel.backbone.backbone import Backbone
from layersel.backbone.layers import find_linear, weight_OI
from layersel.errors import UserError
from layersel.selection.score import Probe, score_named

KINDS = pytest.mark.parametrize("kind", ["bert", "gpt2", "llama"])


def inputs(model: PreTrainedModel) -> list[dict[str, tuple[np.ndarray, np.ndarray]]]:
    """For each layer and linear module its weight (O×I) and all that enters it (N×I), text by text."""
    return [
        {name: (weight_OI(module).detach().double().numpy(), seen[name]) for name, module in own.items()}
        for own, seen in zip(find_linear(model), entering(model), strict=True)
    ]


@KINDS
@pytest.mark.parametrize("m", [2.0, 5.0])
def test_outliers_are_entries_far_above_the_layers_mean(kind: str, m: float) -> None:
    """|W_ij|·‖X_j‖ of all modules of a layer together (Yin et al. 2023), real tokens only."""
    model = tiny(kind)
    found = scored(model, "outliers", m=m)
    for layer, modules in enumerate(inputs(model)):
        entries = {name: np.abs(weight) * np.linalg.norm(x, axis=0) for name, (weight, x) in modules.items()}
        together = np.concatenate([own.ravel() for own in entries.values()])
        assert found.values_L[layer].item() == pytest.approx((together > m * together.mean()).mean(), abs=2e-4)
        for name, own in entries.items():
            assert found.modules[name] == pytest.approx((own > m * together.mean()).mean(), abs=2e-4)
    assert found.values_L.max() > 0


@pytest.mark.parametrize("name", ["outliers", "plop"])
def test_the_same_texts_twice_are_no_news(name: str) -> None:
    """Shares and mean norms do not grow with the probe."""
    model = tiny("llama")
    backbone, batch = Backbone(model, pooling="mean"), padded(model, TEXTS)
    once, twice = (
        score_named(name).scores(backbone, Probe([batch] * times, torch.Generator().manual_seed(0))).values_L
        for times in (1, 2)
    )
    torch.testing.assert_close(twice, once)


@KINDS
def test_plop_is_the_ratio_of_norms_with_its_sign_turned(kind: str) -> None:
    """Against all directions, the expected norm of which many random ones approach."""
    model = tiny(kind)
    found = scored(model, "plop", directions=4000)
    generator = np.random.default_rng(1)
    for layer, modules in enumerate(inputs(model)):
        ratios = {}
        for name, (weight, x) in modules.items():
            random = generator.normal(size=(4000, x.shape[1]))
            aligned, baseline = (
                np.linalg.norm(own / np.linalg.norm(own, axis=1, keepdims=True) @ weight.T, axis=1).mean()
                for own in (x, random)
            )
            ratios[name] = aligned / baseline
            assert found.modules[name] == pytest.approx(-ratios[name], rel=0.02)
        assert found.values_L[layer].item() == pytest.approx(-np.mean(list(ratios.values())), rel=0.02)


@KINDS
@pytest.mark.parametrize("options", [{"m": 2.0}, {"m": 0.5}, {}], ids=["outliers", "few outliers", "plop"])
def test_resamples_are_scores_of_the_drawn_texts(
    kind: str, options: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each as a whole and as often as it was drawn, long ones with more tokens; inputs of zeros are above nothing."""
    model, name, rows = tiny(kind), "outliers" if options else "plop", [[5, 0, 0, 3, 0, 4], [1, 1, 2, 2, 2, 5]]
    with torch.no_grad():
        model.base_model.get_input_embeddings().weight[:, 3] = 0
    drawing(rows, monkeypatch)
    found = scored(model, name, bootstrap=1, **options).resampled_SL
    for own, texts in zip(found, rows, strict=True):
        again = Probe([padded(model, [TEXTS[text] for text in texts])], torch.Generator().manual_seed(0))
        drawn = score_named(name, bootstrap=0, **options).scores(Backbone(model, pooling="mean"), again)
        torch.testing.assert_close(own, drawn.values_L, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found[0], found[1], rtol=1e-3)


def test_plop_of_random_inputs_is_near_one_and_of_aligned_ones_far_above() -> None:
    """A weight of rank one along its inputs stretches these more than others, whatever its scale."""
    model = tiny("llama")
    seen = inputs(model)[0]["layers.0.self_attn.o_proj"][1]
    _, _, directions = np.linalg.svd(seen, full_matrices=False)
    first = torch.tensor(directions[0], dtype=torch.float32)
    with torch.no_grad():
        model.layers[0].self_attn.o_proj.weight.copy_(torch.outer(torch.ones(32), first))
        model.layers[0].self_attn.v_proj.weight.copy_(torch.eye(32)[:16])
    modules = scored(model, "plop").modules
    assert modules["layers.0.self_attn.o_proj"] < -1.5
    with torch.no_grad():
        model.layers[0].self_attn.o_proj.weight.mul_(1e-3)
    rescaled = scored(model, "plop").modules
    assert rescaled["layers.0.self_attn.o_proj"] == pytest.approx(modules["layers.0.self_attn.o_proj"], rel=1e-4)


def test_the_directions_follow_the_seed() -> None:
    """Another seed draws others, of which many make little difference."""
    model = tiny("bert")
    first, again, other = (scored(model, "plop", seed=seed).values_L for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    torch.testing.assert_close(first, other, rtol=0.02, atol=0)


def test_a_weight_of_zeros_has_no_ratio() -> None:
    """One line that names the module."""
    model = tiny("bert")
    with torch.no_grad():
        model.encoder.layer[1].output.dense.weight.zero_()
    with pytest.raises(UserError, match=r"^selection=plop: .* norms of encoder\.layer\.1\.output\.dense are NaN"):
        scored(model, "plop")


@pytest.mark.parametrize("name", ["outliers", "plop"])
def test_a_module_that_no_text_enters_is_one_line(name: str) -> None:
    """Its inputs would be taken for zeros."""
    model = tiny("bert")
    layer = model.encoder.layer[1]
    layer.attention.unused = torch.nn.Linear(4, 4)
    line = rf"^selection={name}: no text passes through encoder\.layer\.1\.attention\.unused; use a score of states"
    with pytest.raises(UserError, match=line):
        scored(model, name)
