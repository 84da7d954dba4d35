"""Resamples of the probe: drawn by its generator and behind all else, none of one text, told with the selection."""

import pytest
import torch
from labelled import TOKENS, loss_of
from models import padded, tiny

from layersel.backbone.backbone import Backbone
from layersel.selection.resampled import ResampledScore
from layersel.selection.score import Probe, score_named, score_names
from layersel.selection.select import make_selection

RESAMPLED = [name for name in score_names() if isinstance(score_named(name), ResampledScore)]
NAMES = ["cosine", "outliers", "plop", "ablate", "fisher", "page", "relative_grad_norm"]
BATCHES = [[0, 1], [1, 3, 2], [3, 0]]


def probe(backbone: Backbone, count: int, seed: int = 0) -> Probe:
    """A probe of `count` texts and as many labelled batches, at most three."""
    texts = [padded(backbone.model, [own]) for own in TOKENS[:count]]
    return Probe(texts, torch.Generator().manual_seed(seed), BATCHES[:count], loss_of(backbone))


def test_these_are_resampled() -> None:
    """Neither those of the weights nor those of a mean gradient; the others have tests of their own."""
    others = ["cka", "cka_paper", "procrustes", "pwcca", "rsa", "svcca", "lora_drop", "reinitialise"]
    assert sorted(NAMES + others) == RESAMPLED


@pytest.mark.parametrize("name", NAMES)
def test_they_change_no_score_and_follow_the_seed(name: str, global_rng_untouched: None) -> None:
    """Values are the same with and without; the same seed draws the same samples, another one others."""
    backbone = Backbone(tiny("bert"), pooling="mean")

    def scores(bootstrap: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor | None]:
        found = score_named(name, bootstrap=bootstrap).scores(backbone, probe(backbone, 4, seed))
        return found.values_L, found.resampled_SL

    (values_L, none), (same_L, some_SL), (_, again_SL), (_, other_SL) = scores(0), scores(30), scores(30), scores(30, 1)
    assert none is None
    assert torch.equal(values_L, same_L)
    assert torch.equal(some_SL, again_SL)
    assert not torch.equal(some_SL, other_SL)


@pytest.mark.parametrize("name", NAMES)
def test_of_one_text_or_batch_there_are_none(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A line says that one cannot tell; by two, the selection knows in how many samples a layer is chosen."""
    backbone = Backbone(tiny("bert"), pooling="mean")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("layersel.terminal.tables._noted", set())
        alone = make_selection(backbone, score_named(name, n=1), probe(backbone, 1))
    assert alone.stability is None
    assert f"probe: selection={name} looks at one text or batch alone, so that nothing tells" in capsys.readouterr().out
    stability = make_selection(backbone, score_named(name, n=1), probe(backbone, 2)).stability
    assert stability.samples == 100
    assert sum(stability.chosen_share) == pytest.approx(1)
    assert capsys.readouterr().out == ""


def test_ablation_by_example_is_of_single_ones() -> None:
    """The task is asked for them, by an option that others lack."""
    assert [score_named("ablate", per_example=own).per_example for own in (False, True)] == [False, True]
    assert score_named("fisher").per_example
    assert not score_named("page").per_example
