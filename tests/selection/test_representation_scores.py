"""Scores by Procrustes, RSA, SVCCA and PWCCA: similarities of pooled states, what is excluded, resamples, options."""

import math
from itertools import pairwise

import pytest
import torch
from models import N_LAYERS, ragged, tiny

from layersel.backbone.backbone import Backbone
from layersel.backbone.encode import layer_representations
from layersel.errors import UserError
from layersel.selection.measures.canonical import pwcca, svcca
from layersel.selection.measures.dissimilarity import rsa
from layersel.selection.measures.procrustes import procrustes
from layersel.selection.score import LayerScores, Probe, score_named
from layersel.selection.select import make_selection

TEXTS = ragged([7, 12, 3, 30, 12, 5, 9, 21, 14, 8, 17, 6], cls=2)
SIMILARITIES = {
    "procrustes": ({}, procrustes),
    "rsa": ({}, rsa),
    "svcca": ({"variance": 0.5}, lambda x, y: svcca(x, y, 0.5)),
    "pwcca": ({"variance": 0.5}, lambda x, y: pwcca(x, y, 0.5)),
}
every_score = pytest.mark.parametrize("name", SIMILARITIES)


def scored(backbone: Backbone, name: str, bootstrap: int = 0, seed: int = 0, **options: object) -> LayerScores:
    """The scores of all layers on some texts."""
    score = score_named(name, bootstrap=bootstrap, **SIMILARITIES[name][0] | options)
    return score.scores(backbone, Probe([backbone.batch(TEXTS)], torch.Generator().manual_seed(seed)))


@every_score
@pytest.mark.parametrize("kind", ["bert", "llama"])
@pytest.mark.parametrize("states", ["blocks", "hidden_states"])
def test_scores_are_one_minus_the_similarity_of_input_and_output(name: str, kind: str, states: str) -> None:
    """Of the pooled states at both depths, the last behind the final norm if that is asked for."""
    backbone = Backbone(tiny(kind), pooling="mean")
    depths = layer_representations(backbone, [backbone.batch(TEXTS)], "", final_norm=states == "hidden_states")
    expected = [1 - SIMILARITIES[name][1](before, after).item() for before, after in pairwise(depths)]
    assert scored(backbone, name, states=states).values_L.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_the_options_reach_the_similarity() -> None:
    """Distance and correlation of RSA."""
    backbone = Backbone(tiny("bert"), pooling="mean")
    depths = layer_representations(backbone, [backbone.batch(TEXTS)], "")
    expected = [1 - rsa(before, after, "euclidean", "pearson").item() for before, after in pairwise(depths)]
    found = scored(backbone, "rsa", distance="euclidean", correlation="pearson").values_L
    assert found.tolist() == pytest.approx(expected, rel=1e-9)


@every_score
def test_the_constant_cls_input_is_excluded(name: str) -> None:
    """As for CKA; no resample has it either, and the order of the others is compared."""
    backbone = Backbone(tiny("bert"), pooling="cls")
    found = scored(backbone, name, bootstrap=20)
    assert "same for every text, as of [CLS]" in found.excluded[0]
    assert found.values_L.isnan().tolist() == [True, False, False]
    selection = make_selection(backbone, score_named(name, n=2), Probe([], torch.Generator()), found)
    assert selection.layers == [1, 2]
    assert selection.stability is not None
    assert math.isfinite(selection.stability.rank_correlation)


@every_score
def test_resamples_are_scores_of_the_drawn_texts(name: str) -> None:
    """Random halves; for CCA in the directions that the whole probe keeps. Another seed draws others."""
    backbone = Backbone(tiny("bert"), pooling="mean")
    found, other = (scored(backbone, name, bootstrap=5, seed=seed) for seed in (0, 1))
    assert torch.equal(found.values_L, other.values_L)
    assert not torch.equal(found.resampled_SL, other.resampled_SL)
    generator, half = torch.Generator().manual_seed(0), len(TEXTS) // 2
    halves = [torch.randperm(len(TEXTS), generator=generator)[:half] for _ in range(5)]
    depths = layer_representations(backbone, [backbone.batch(TEXTS)], "").double()
    if "cca" in name:
        centred = depths - depths.mean(dim=1, keepdim=True)
        u, s, v = torch.linalg.svd(centred, full_matrices=False)
        share = s.square().cumsum(1) / s.square().sum(1, keepdim=True)
        kept = (share < 0.5).sum(1) + 1
        depths = [u[i, :, :k] * s[i, :k] @ v[i, :k] for i, k in enumerate(kept)]
        similarity = {"svcca": svcca, "pwcca": pwcca}[name]
        expected = [
            [1 - similarity(a[rows], b[rows], 1 - 1e-12).item() for a, b in pairwise(depths)] for rows in halves
        ]
    else:
        similarity = SIMILARITIES[name][1]
        expected = [[1 - similarity(a[rows], b[rows]).item() for a, b in pairwise(depths)] for rows in halves]
    torch.testing.assert_close(found.resampled_SL, torch.tensor(expected, dtype=torch.float64))


def test_resamples_vary_as_other_probes_do() -> None:
    """The spread over halves of one probe, on average, is that over 200 probes of as many texts, within a tenth."""
    generator, n_texts = torch.Generator().manual_seed(0), 64
    score = score_named("cka", bootstrap=50)
    values, spreads = [], []
    for place in range(200):
        x_ND = torch.randn(n_texts, 4, generator=generator)
        kept = [score.kept(own) for own in (x_ND, x_ND + torch.randn(n_texts, 4, generator=generator))]
        values.append(score._importance(kept, slice(None))[0])
        if place < 20:
            spreads.append(score._resampled(kept, n_texts, 4, generator)[:, 0].std())
    assert torch.stack(spreads).mean().item() == pytest.approx(torch.stack(values).std().item(), rel=0.1)


def test_too_few_texts_for_the_variance_are_refused_and_half_enough_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where all directions are kept CCA is 1; where two layers' together are more than there are, part of it is."""
    monkeypatch.setattr("layersel.terminal.tables._noted", set())
    backbone = Backbone(tiny("bert"), pooling="mean")
    with pytest.raises(UserError, match=r"^selection\.variance: expected a share of less than all 11 directions of 12"):
        scored(backbone, "svcca", variance=1)
    assert capsys.readouterr().out == ""
    scored(backbone, "svcca", variance=0.9)
    assert "correlations up to" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("rsa", {"distance": "cosine"}, "selection.distance: expected one of correlation, euclidean"),
        ("rsa", {"correlation": "kendall"}, "selection.correlation: expected one of spearman, pearson"),
        ("svcca", {"variance": 0}, "selection.variance: expected a share above 0, at most 1, but got 0"),
        ("pwcca", {"variance": 1.5}, "selection.variance: expected a share above 0, at most 1, but got 1.5"),
        ("procrustes", {"probe_size": 3}, "selection.probe_size: expected at least 4 for Procrustes, but got 3"),
        ("rsa", {"states": "all"}, "selection.states: expected one of blocks, hidden_states"),
        ("cosine", {"tokens": "last"}, "selection.tokens: expected one of pooled, all, but got 'last'"),
        ("cosine", {"bootstrap": -1}, "selection.bootstrap: expected 0 or more, but got -1"),
        ("outliers", {"m": 0}, "selection.m: expected a number above 0, but got 0"),
        ("plop", {"directions": 0}, "selection.directions: expected at least 1, but got 0"),
    ],
)
def test_each_bad_option_is_a_problem(name: str, options: dict[str, object], expected: str) -> None:
    """Each is found without a model, and alone."""
    (problem,) = score_named(name, **options).problems()
    assert problem.startswith(expected)


@every_score
def test_the_scale_of_a_depth_does_not_matter(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """States grow from layer to layer in many models."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(N_LAYERS + 1, 12, 32, generator=generator, dtype=torch.float64).cumsum(0)

    def scores(representations: torch.Tensor) -> torch.Tensor:
        monkeypatch.setattr("layersel.backbone.encode.layer_representations", lambda *_: representations)
        return scored(Backbone(tiny("bert")), name).values_L

    scales = torch.tensor([1e-3, 1.0, 7.0, 1e3], dtype=torch.float64).view(4, 1, 1)
    torch.testing.assert_close(scores(scales * states), scores(states), rtol=1e-8, atol=1e-8)
