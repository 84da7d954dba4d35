"""CKA importance of layers: against numpy on the model's own hidden states, and what it must not depend on."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from models import ARCHITECTURES, DECODERS, N_LAYERS, WIDTH, bert, padded, ragged, seeded, tiny
from torch import Tensor
from transformers import BertModel, PreTrainedModel

from layersel.backbone.backbone import Backbone
from layersel.data.tokens import TokenIds
from layersel.errors import UserError
from layersel.selection.score import Probe
from layersel.selection.scores.cka import CKA
from layersel.selection.select import select_layers
from layersel.selection.selection import Selection

CLS = 2
TEXTS = ragged([7, 12, 3, 30, 12, 5, 9, 21], cls=CLS)


def _cka(x: np.ndarray, y: np.ndarray) -> float:
    """‖XᵀY‖²_F / (‖XᵀX‖_F ‖YᵀY‖_F), the columns centred (Kornblith et al. 2019); NaN for constants."""
    x, y = x - x.mean(0), y - y.mean(0)
    with np.errstate(invalid="ignore"):
        return float(np.linalg.norm(x.T @ y) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))


def _states(model: PreTrainedModel, text: TokenIds, final_norm: bool) -> list[np.ndarray]:
    """(T, D) at each depth for a text alone; the last before a final norm, which is no part of the layer, or behind."""
    last: list[Tensor] = []
    layer = Backbone(model, None, "mean").layers[-1]
    handle = layer.register_forward_hook(lambda _, __, out: last.append(out[0] if isinstance(out, tuple) else out))
    with torch.no_grad():
        hidden = model.base_model(input_ids=torch.tensor([text]), output_hidden_states=True).hidden_states
    handle.remove()
    return [state[0].double().numpy() for state in (*hidden[:-1], hidden[-1] if final_norm else last[0])]


def _reference(model: PreTrainedModel, texts: list[TokenIds], pooling: str, final_norm: bool = False) -> list[float]:
    """1 − CKA(R_{i−1}, R_i) of every layer, in numpy, text by text, without padding."""
    pool = {"cls": lambda s: s[0], "mean": lambda s: s.mean(0), "last": lambda s: s[-1]}[pooling]
    by_text = [[pool(state) for state in _states(model, text, final_norm)] for text in texts]
    depths = [np.stack(rows) for rows in zip(*by_text, strict=True)]
    return [1 - _cka(before, after) for before, after in pairwise(depths)]


def _select(
    model: PreTrainedModel,
    texts: list[TokenIds] = TEXTS,
    pooling: str = "mean",
    n: int = 1,
    bootstrap: int = 0,
    **options: object,
) -> Selection:
    score = CKA(n=n, bootstrap=bootstrap, **options)
    return select_layers(model, [padded(model, texts)], score=score, pooling=pooling)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_scores_are_the_formula_on_the_models_hidden_states(name: str) -> None:
    """Mean pooling for encoders, last token for decoders, in one padded batch."""
    model = tiny(name)
    pooling = "last" if name in DECODERS or name == "llama_causal" else "mean"
    reference = _reference(model, TEXTS, pooling)
    assert _select(model, pooling=pooling).scores == pytest.approx(reference, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_librarys_hidden_states_change_the_last_score_where_there_is_a_final_norm(name: str) -> None:
    """As the paper's code takes them; the other layers' scores stay."""
    model = tiny(name)
    blocks, hidden = (_select(model, pooling="last", states=states).scores for states in ("blocks", "hidden_states"))
    assert hidden == pytest.approx(_reference(model, TEXTS, "last", final_norm=True), rel=1e-3, abs=1e-5)
    assert hidden[:-1] == blocks[:-1]
    has_norm = name in DECODERS or name in ("modernbert", "llama_causal")
    assert (abs(hidden[-1] - blocks[-1]) > 1e-6) == has_norm


@pytest.mark.parametrize("name", ["bert", "roberta", "mpnet", "distilbert", "deberta", "modernbert"])
def test_with_cls_pooling_the_first_layer_is_excluded_and_says_so(name: str) -> None:
    """Every text's embedding of [CLS] is the same: layer 0 has nothing to compare, the others follow the formula."""
    model = tiny(name)
    selection = _select(model, n=N_LAYERS - 1, pooling="cls")
    assert math.isnan(selection.scores[0])
    assert selection.layers == [1, 2]
    assert "same for every text, as of [CLS]" in selection.reasons[0]
    assert "beyond the budget" in selection.reasons[0]
    assert not any("CLS" in reason for reason in selection.reasons[1:])
    reference = _reference(model, TEXTS, "cls")
    assert selection.scores[1:] == pytest.approx(reference[1:], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_with_other_pooling_no_layer_is_excluded(pooling: str) -> None:
    """This holds although every text begins with [CLS]."""
    selection = _select(tiny("bert"), pooling=pooling)
    assert all(math.isfinite(score) for score in selection.scores)
    assert not any("CLS" in reason for reason in selection.reasons)


def test_the_whole_budget_takes_the_excluded_layer_too() -> None:
    """Asked for all layers the selection has all, the excluded one with its reason."""
    model = tiny("bert")
    selection = _select(model, n=N_LAYERS, pooling="cls")
    assert selection.layers == [0, 1, 2]
    assert "within the budget of 3" in selection.reasons[0]


def test_reasons_rank_the_scores() -> None:
    """Rank 1 is the highest score."""
    selection = _select(tiny("bert"))
    order = sorted(range(N_LAYERS), key=lambda layer: -selection.scores[layer])
    for rank, layer in enumerate(order, start=1):
        place = "within" if rank == 1 else "beyond"
        assert selection.reasons[layer] == f"rank {rank} of 3; {place} the budget of 1"


def test_a_layer_that_does_nothing_has_no_importance() -> None:
    """An identity in a pre-norm model: what it adds to the residual is zero."""
    model = tiny("llama")
    with torch.no_grad():
        model.layers[1].self_attn.o_proj.weight.zero_()
        model.layers[1].mlp.down_proj.weight.zero_()
    scores = _select(model, pooling="last").scores
    assert scores[1] == pytest.approx(0, abs=1e-12)
    assert min(scores[0], scores[2]) > 1e-3


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("debiased", [False, True])
def test_order_and_batching_of_the_probe_do_not_matter(kernel: str, debiased: bool) -> None:
    """One batch, or the texts reversed in three of other widths."""
    model = tiny("bert")
    score = CKA(n=1, kernel=kernel, debiased=debiased, bootstrap=0)
    whole = select_layers(model, [padded(model, TEXTS)], score=score, pooling="mean")
    reverse = TEXTS[::-1]
    pieces = [padded(model, reverse[start : start + 3]) for start in (0, 3, 6)]
    assert select_layers(model, pieces, score=score, pooling="mean").scores == pytest.approx(whole.scores, abs=1e-5)


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("debiased", [False, True])
def test_scale_shift_and_rotation_of_the_states_do_not_matter(
    kernel: str, debiased: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CKA compares similarities between texts, not coordinates; each depth is changed in its own way."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(4, 12, WIDTH, generator=generator, dtype=torch.float64).cumsum(0)
    rotations = torch.linalg.qr(torch.randn(4, WIDTH, WIDTH, generator=generator, dtype=torch.float64)).Q
    scales = torch.tensor([1e-3, 1.0, 7.0, 1e3], dtype=torch.float64).view(4, 1, 1)
    shifts = scales * torch.randn(4, 1, WIDTH, generator=generator, dtype=torch.float64)

    def scores(representations: Tensor) -> Tensor:
        monkeypatch.setattr("layersel.backbone.encode.layer_representations", lambda *_: representations)
        chooser = CKA(kernel=kernel, debiased=debiased, bootstrap=0)
        return chooser.scores(Backbone(tiny("bert")), Probe([], generator)).values_L

    torch.testing.assert_close(scores(scales * (states @ rotations) + shifts), scores(states), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("kernel", "longest", "told"), [("linear", 30.0, True), ("linear", 1.0, False), ("rbf", 30.0, False)]
)
def test_a_text_that_decides_alone_is_told(
    kernel: str, longest: float, told: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One text of 20 with states thirty times as long at two of four depths."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(4, 20, WIDTH, generator=generator)
    states[1:3, 7] *= longest
    squares = (states - states.mean(dim=1, keepdim=True)).square().sum(dim=2)
    share = (squares.amax(dim=1) / squares.sum(dim=1)).max()
    monkeypatch.setattr("layersel.backbone.encode.layer_representations", lambda *_: states)
    monkeypatch.setattr("layersel.terminal.tables._noted", set())
    CKA(kernel=kernel, bootstrap=0).scores(Backbone(tiny("bert")), Probe([], generator))
    printed = capsys.readouterr().out
    assert (f"probe: one of 20 texts makes up {share:.0%} of the variance at 2 of 4 depths" in printed) == told
    assert bool(printed) == told


def test_debiased_scores_differ_from_biased_ones_on_a_small_probe() -> None:
    """The bias hides differences, so the debiased importance is the larger one here: 8 texts, 32 dimensions."""
    biased, debiased = (_select(tiny("bert"), debiased=flag).scores for flag in (False, True))
    assert all(free > inflated for free, inflated in zip(debiased, biased, strict=True))


def test_fewer_texts_than_the_estimate_needs_are_refused() -> None:
    """HSIC₁ divides by n − 3."""
    with pytest.raises(UserError, match="at least 4 texts for CKA, but got 3"):
        _select(tiny("bert"), TEXTS[:3])
    assert len(_select(tiny("bert"), TEXTS[:4]).scores) == N_LAYERS


def test_a_probe_of_equal_texts_is_refused_by_the_layers() -> None:
    """There is no CKA of constants; a NaN must not become a choice."""
    with pytest.raises(UserError, match=r"not a number for layers .*all alike"):
        _select(tiny("bert"), [TEXTS[0]] * 6)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"kernel": "cosine"}, "selection.kernel: expected one of linear, rbf"),
        ({"states": "model"}, "selection.states: expected one of blocks, hidden_states, but got 'model'"),
        ({"draw": "last"}, "selection.draw: expected one of random, first, but got 'last'"),
        ({"probe_size": 3}, "selection.probe_size: expected at least 4 for CKA, but got 3"),
        ({"bootstrap": -1}, "selection.bootstrap: expected 0 or more, but got -1"),
    ],
)
def test_each_bad_option_is_a_problem(options: dict[str, object], expected: str) -> None:
    """Each is found without a model."""
    (problem,) = CKA(**options).problems()
    assert problem.startswith(expected)


# Stability


def test_stability_is_a_share_for_each_layer_that_sums_to_the_budget() -> None:
    """Every sample chooses n layers; those with clearly higher scores almost always."""
    selection = select_layers(tiny("bert"), [padded(tiny("bert"), TEXTS)], n=2, pooling="mean")
    stability = selection.stability
    assert stability is not None
    assert all(0 <= share <= 1 for share in stability.chosen_share)
    assert sum(stability.chosen_share) == pytest.approx(2)
    assert -1 <= stability.rank_correlation <= 1
    assert 50 < stability.samples <= 100  # samples of fewer than 4 different texts are left out


def test_with_the_whole_budget_every_layer_is_chosen_in_every_sample() -> None:
    """Every share is 1, whatever the scores."""
    model = tiny("bert")
    stability = select_layers(model, [padded(model, TEXTS)], n=N_LAYERS, pooling="cls").stability
    assert stability is not None
    assert stability.chosen_share == [1.0] * N_LAYERS


def test_an_excluded_layer_is_not_chosen_in_any_sample() -> None:
    """It does not count in the rank correlation either, which stays a number."""
    model = tiny("bert")
    stability = select_layers(model, [padded(model, TEXTS)], n=1, pooling="cls").stability
    assert stability is not None
    assert stability.chosen_share[0] == 0
    assert math.isfinite(stability.rank_correlation)


def test_samples_follow_the_seed_and_leave_the_scores_alone(global_rng_untouched: None) -> None:
    """Same seed, same stability; another seed, other samples of the same probe, the same scores."""
    model = tiny("bert")
    first, again, other = (
        select_layers(model, [padded(model, TEXTS)], n=1, pooling="mean", seed=seed) for seed in (0, 0, 1)
    )
    assert first == again
    assert first.stability != other.stability
    assert first.scores == other.scores


def test_without_resamples_there_is_no_stability() -> None:
    """`bootstrap=0` is no samples, not a default; the scores stay the same."""
    without, with_some = (_select(tiny("bert"), bootstrap=bootstrap) for bootstrap in (0, 3))
    assert without.stability is None
    assert with_some.stability is not None
    assert without.scores == with_some.scores


@pytest.mark.parametrize("seed", range(4))
def test_a_tiny_probe_may_leave_no_usable_resample(seed: int) -> None:
    """Of 4 texts a sample of 4 draws has all of them in one case of ten: then there is no stability to report."""
    model = tiny("bert")
    score = CKA(n=1, bootstrap=1)
    selection = select_layers(model, [padded(model, TEXTS[:4])], score=score, pooling="mean", seed=seed)
    assert selection.stability is None or selection.stability.samples == 1


def test_two_layers_with_one_excluded_leave_nothing_to_correlate() -> None:
    """A model of two layers works all the same; the correlation is NaN, not an error."""
    model = seeded(lambda: BertModel(bert(num_hidden_layers=2)))
    selection = select_layers(model, [padded(model, TEXTS)], n=1, pooling="cls")
    assert selection.layers == [1]
    assert selection.stability is not None
    assert math.isnan(selection.stability.rank_correlation)
