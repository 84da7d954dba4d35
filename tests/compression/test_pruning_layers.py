"""The layers with the lowest scores go; which scores can say so, and how many."""

import re

import pytest
import torch
from models import N_LAYERS, bert, ragged, seeded, tiny
from torch import Tensor
from transformers import BertModel

from layersel.backbone.backbone import Backbone
from layersel.backbone.encode import token_batches
from layersel.backbone.shorten import drop_layers
from layersel.compression.pruning.layers import Layers
from layersel.errors import UserError
from layersel.selection.score import LayerScores, Probe
from layersel.selection.scores.cka import CKA
from layersel.selection.select import select_layers

DEPTH = 6
TEXTS = ragged((7, 12, 3, 30, 9, 16, 5, 8))


def deep(pooling: str = "mean") -> Backbone:
    """Returns a BERT of six layers."""
    config = bert(num_hidden_layers=DEPTH)
    return Backbone(seeded(lambda: BertModel(config)), None, pooling)


def generator(seed: int = 0) -> torch.Generator:
    """Returns a generator for the draws of one pruning."""
    return torch.Generator().manual_seed(seed)


def vectors(backbone: Backbone) -> Tensor:
    """Computes the vectors of two texts."""
    with torch.no_grad():
        return backbone(backbone.batch(TEXTS[:2]))


@pytest.mark.parametrize(
    ("score", "n", "dropped"),
    [
        ("last", 2, [0, 1]),
        ("first", 2, [4, 5]),
        ("last", 1, [0]),
        ("first", 5, [1, 2, 3, 4, 5]),
        ("spread", 2, [1, 4]),
        ("last", 0.25, [0, 1]),
        ("last", 0.1, [0]),
        ("last", 0.5, [0, 1, 2]),
        ("last", 0, []),
    ],
)
def test_the_lowest_layers_go(score: str, n: float, dropped: list[int]) -> None:
    """A count, or a share rounded half up and at least one; spread keeps layers at even distances."""
    backbone, reference = deep(), deep()
    pruned = Layers(n=n, score=score).prune(backbone, TEXTS, generator())
    assert pruned.dropped == dropped
    drop_layers(reference, dropped)
    assert backbone.n_layers == DEPTH - len(dropped)
    assert torch.equal(vectors(backbone), vectors(reference))


@pytest.mark.parametrize("score", ["cka", "cosine", "spectrum", "outliers"])
def test_the_score_is_that_of_the_selection(score: str) -> None:
    """Through the library's front door it names the same layers: what it chooses last is dropped."""
    backbone = deep()
    batches = token_batches(backbone, TEXTS)
    scores = select_layers(backbone.model, batches, score=score, pooling="mean").scores
    pruned = Layers(n=2, score=score).prune(backbone, TEXTS, generator())
    assert pruned.dropped == sorted(sorted(range(DEPTH), key=lambda layer: scores[layer])[:2])


def test_the_probe_is_drawn_by_the_generator(monkeypatch: pytest.MonkeyPatch, global_rng_untouched: None) -> None:
    """It draws as many texts as asked for, without a global random number."""
    seen = []
    scores = CKA.scores
    monkeypatch.setattr(
        CKA, "scores", lambda self, backbone, probe: seen.append(probe) or scores(self, backbone, probe)
    )
    for seed in (0, 0, 1):
        Layers(n=1, probe_size=5).prune(deep(), TEXTS, generator(seed))
    records = [[ids.tolist() for batch in probe.batches for ids in batch["input_ids"]] for probe in seen]
    assert [len(texts) for texts in records] == [5, 5, 5]
    assert records[0] == records[1] != records[2]


def test_random_layers_follow_the_generator() -> None:
    """Different seeds draw different layers."""
    dropped = {tuple(Layers(n=2, score="random").prune(deep(), TEXTS, generator(seed)).dropped) for seed in range(12)}
    assert len(dropped) > 5
    first, again = (Layers(n=2, score="random").prune(deep(), TEXTS, generator(3)).dropped for _ in range(2))
    assert first == again


def test_an_excluded_layer_stays() -> None:
    """With CLS pooling all texts begin alike: layer 0 has no CKA, and is kept even if all others go."""
    texts = ragged((7, 12, 3, 30, 9, 16, 5, 8), cls=7)
    backbone = deep("cls")
    assert Layers(n=5).prune(backbone, texts, generator()).dropped == [1, 2, 3, 4, 5]


def test_more_layers_than_the_score_ranks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is one line with the reason."""
    scores = CKA.scores

    def only_two(self: CKA, backbone: Backbone, probe: Probe) -> LayerScores:
        found = scores(self, backbone, probe)
        found.values_L[2:] = torch.nan
        found.excluded.update(dict.fromkeys(range(2, DEPTH), "why"))
        return found

    monkeypatch.setattr(CKA, "scores", only_two)
    backbone = deep()
    with pytest.raises(UserError, match=r"^pruning.n: expected at most the 2 layers that score cka ranks, but got 3"):
        Layers(n=3).prune(backbone, TEXTS, generator())
    assert backbone.n_layers == DEPTH


def test_the_report_counts_what_is_gone() -> None:
    """It names layers and parameters, and says that the model is shorter."""
    backbone = deep()
    layer = sum(parameter.numel() for parameter in backbone.layers[0].parameters())
    pruned = Layers(n=2, score="first").prune(backbone, TEXTS, generator())
    assert pruned.report() == {
        "layers dropped": [4, 5],
        "parameters removed": 2 * layer,
        "pruning": f"layers [4, 5] of 6 dropped with {2 * layer:,} parameters; only the others run",
    }
    pruned.reapply(backbone)
    assert (pruned.masks, pruned.sparsity(backbone)) == ({}, 0)


@pytest.mark.parametrize("n", [DEPTH, DEPTH + 1, 0.95])
def test_a_model_keeps_a_layer(n: float) -> None:
    """The message is one line with the number of layers."""
    with pytest.raises(UserError, match=rf"^pruning.n: expected fewer than the 6 layers.*got {re.escape(f'{n:g}')}$"):
        Layers(n=n, score="last").prune(deep(), TEXTS, generator())


def test_an_architecture_that_needs_the_layer_is_refused() -> None:
    """ModernBERT's first layer cannot be replaced."""
    backbone = Backbone(tiny("modernbert"), None, "mean")
    with pytest.raises(UserError, match=r"keep layer 0$"):
        Layers(n=1, score="last").prune(backbone, TEXTS, generator())
    assert backbone.n_layers == N_LAYERS


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"n": 1.5}, "pruning.n: expected a count of layers (0, 1, 2) or a share such as 0.25, but got 1.5"),
        ({"n": -1}, "pruning.n: expected a count of layers (0, 1, 2) or a share such as 0.25, but got -1"),
        ({"n": float("nan")}, "pruning.n: expected a count of layers (0, 1, 2) or a share such as 0.25, but got nan"),
        ({"score": "all"}, r"pruning.score: expected one of .*\bcka\b.*, but got 'all'"),
        ({"score": "none"}, r"pruning.score: expected one of .*\blast\b.*, but got 'none'"),
        ({"score": "plop"}, r"pruning.score: expected one of .*\bcka\b.*, but got 'plop'"),  # low is aligned, not idle
        ({"score": "manual"}, r"pruning.score: expected one of .*\brandom\b.*, but got 'manual'"),
        ({"score": "ckaa"}, r"pruning.score: expected one of .*\bcka\b.*, but got 'ckaa'"),
        ({"probe_size": 3}, "pruning.probe_size: expected at least 4 for CKA, but got 3"),
    ],
    ids=str,
)
def test_wrong_options_are_one_line(options: dict[str, object], problem: str) -> None:
    """Scores that fix the number of layers themselves rank nothing."""
    (found,) = Layers(**options).problems()
    assert found == problem or re.fullmatch(problem, found)


@pytest.mark.parametrize("options", [{}, {"n": 0}, {"n": 3}, {"score": "spread"}, {"score": "random"}], ids=str)
def test_right_options_have_no_problem(options: dict[str, object]) -> None:
    """Every score that ranks layers is allowed."""
    assert Layers(**options).problems() == []
