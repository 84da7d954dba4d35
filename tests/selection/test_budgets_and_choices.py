"""How many layers a budget means, and which ones the scores then give."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from label_free import LABEL_FREE, few
from models import N_LAYERS, padded, ragged, tiny

from layersel.errors import UserError
from layersel.selection.budget import choose_layers
from layersel.selection.score import Score, score_named, score_names
from layersel.selection.select import select_layers

some_scores = st.lists(st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0, math.inf]), min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("n", "n_layers", "expected"),
    [
        (0, 6, 0),
        (1, 6, 1),
        (1.0, 6, 1),
        (6, 6, 6),
        (0.5, 6, 3),
        (0.5, 3, 2),  # halves go up, never to the even neighbour
        (0.5, 5, 3),
        (0.5, 1, 1),
        (0.34, 3, 1),
        (0.99, 3, 3),
        (0.01, 12, 1),  # a share above nothing is at least one layer
        (1 / 12, 12, 1),
        (0.25, 24, 6),
    ],
)
def test_budget_is_a_count_or_a_share(n: float, n_layers: int, expected: int) -> None:
    """Below 1 a share of the layers, rounded half up; 0 is no layer."""
    assert Score(n=n).budget(n_layers) == expected


def test_budget_above_the_layers_is_refused() -> None:
    """Silently adapting fewer would falsify a comparison of budgets."""
    with pytest.raises(UserError, match="expected at most 6, the layers of this model, but got 7"):
        Score(n=7).budget(6)


@pytest.mark.parametrize("n", [-1, 1.5, math.nan, math.inf, -math.inf, None])
def test_what_is_no_budget_is_refused(n: float | None) -> None:
    """The check of the options refuses it, before anything is computed."""
    (problem,) = Score(n=n).problems()
    assert "expected a count of layers (0, 1, 2, …) or a share such as 0.5" in problem
    model = tiny("bert")
    with pytest.raises(UserError, match=r"selection\.n"):
        select_layers(model, [padded(model, ragged())], n=n, score="last")


@pytest.mark.parametrize("name", ["all", "none", "manual"])
def test_scores_that_fix_the_number_of_layers_take_no_budget(name: str) -> None:
    """The contradiction is named, not resolved in silence."""
    options = {"layers": [0]} if name == "manual" else {}
    assert score_named(name, **options).problems() == []
    (problem,) = score_named(name, n=2, **options).problems()
    assert "contradicts" in problem


def _choose_one_by_one(values: list[float], budget: int, excluded: set[int]) -> list[int]:
    """Reference: take the best of what is left; among equals the later; excluded ones when nothing else is left."""
    left = list(range(len(values)))
    chosen = []
    for _ in range(budget):
        candidates = [layer for layer in left if layer not in excluded] or left
        best = max(values[layer] for layer in candidates)
        chosen.append(max(layer for layer in candidates if values[layer] == best))
        left.remove(chosen[-1])
    return sorted(chosen)


@given(values=some_scores, data=st.data())
def test_choice_is_the_best_one_by_one(values: list[float], data: st.DataObject) -> None:
    """This holds with ties, negative and infinite scores, and any layers excluded."""
    budget = data.draw(st.integers(0, len(values)))
    excluded = data.draw(st.sets(st.integers(0, len(values) - 1)))
    assert choose_layers(torch.tensor(values), budget, excluded) == _choose_one_by_one(values, budget, excluded)


@given(values=some_scores)
def test_larger_budgets_only_add_layers(values: list[float]) -> None:
    """Budgets are nested, from none to all."""
    chosen = [set(choose_layers(torch.tensor(values), budget)) for budget in range(len(values) + 1)]
    assert [len(layers) for layers in chosen] == list(range(len(values) + 1))
    assert all(fewer < more for fewer, more in pairwise(chosen))


@pytest.mark.parametrize(
    ("values", "budget", "expected"),
    [
        ([1.0, 1.0, 1.0, 1.0], 2, [2, 3]),
        ([math.nan, 0.5, 0.1, 0.3], 3, [1, 2, 3]),
        ([math.nan, 0.5, 0.1, 0.3], 4, [0, 1, 2, 3]),
        ([math.nan, -0.2, -0.1, -0.3], 2, [1, 2]),  # debiased scores may be negative: still before NaN
    ],
)
def test_ties_go_to_the_later_and_nan_comes_last(values: list[float], budget: int, expected: list[int]) -> None:
    """A layer without a score is taken only when all others are."""
    excluded = {layer for layer, value in enumerate(values) if math.isnan(value)}
    assert choose_layers(torch.tensor(values), budget, excluded) == expected


def _chosen(name: str, n: float, n_layers: int) -> list[int]:
    class Depth:
        """A model of which only the depth is known."""

    depth = Depth()
    depth.n_layers = n_layers
    score = score_named(name, n=n)
    return choose_layers(score.scores(depth, None).values_L, score.budget(n_layers))


@pytest.mark.parametrize("n_layers", [1, 2, 3, 6, 12, 13])
def test_positional_controls_take_their_end_for_every_budget(n_layers: int) -> None:
    """Last and first n; first n−1 and the last; spread is n layers with both ends, whose gaps differ by at most one."""
    for n in range(n_layers + 1):
        assert _chosen("last", n, n_layers) == list(range(n_layers - n, n_layers))
        assert _chosen("first", n, n_layers) == list(range(n))
        assert _chosen("first_last", n, n_layers) == ([*range(n - 1), n_layers - 1] if n else [])
        spread = _chosen("spread", n, n_layers)
        assert len(spread) == n
        assert n == 0 or spread[-1] == n_layers - 1
        assert n < 2 or spread[0] == 0
        gaps = [after - before for before, after in pairwise(spread)]
        assert not gaps or max(gaps) - min(gaps) <= 1


def test_spread_is_the_known_example() -> None:
    """The numbers of the documentation's kind: 3 of 12 and 1 of 12."""
    assert _chosen("spread", 3, 12) == [0, 5, 11]
    assert _chosen("spread", 1, 12) == [11]


def test_first_last_is_the_shape_of_the_published_choices() -> None:
    """8 of 32 layers, and with a budget of one the last layer."""
    assert _chosen("first_last", 0.25, 32) == [0, 1, 2, 3, 4, 5, 6, 31]
    assert _chosen("first_last", 1, 32) == [31]


def _random(n: float, seed: int, n_texts: int = 4) -> tuple[list[int], list[float]]:
    model = tiny("bert")
    selection = select_layers(model, [padded(model, ragged([5] * n_texts))], n=n, score="random", seed=seed)
    return selection.layers, selection.scores


def test_random_follows_its_seed_and_nothing_else() -> None:
    """The same layers for the same seed whatever the probe and the global state; each layer is drawn sometimes."""
    torch.manual_seed(1)
    first = _random(1, seed=7)
    torch.manual_seed(2)
    assert _random(1, seed=7, n_texts=2) == first
    assert _random(1, seed=8) != first
    assert {layer for seed in range(30) for layer in _random(1, seed)[0]} == set(range(N_LAYERS))


def test_none_chooses_nothing_and_all_everything() -> None:
    """Both ignore `n` of the front door, since the number of layers is theirs."""
    model = tiny("bert")
    batches = [padded(model, ragged())]
    assert select_layers(model, batches, score="none").layers == []
    assert select_layers(model, batches, score="all").layers == list(range(N_LAYERS))
    assert select_layers(model, batches, n=0, score="last").layers == []


def test_manual_takes_exactly_the_named_layers() -> None:
    """They may be named in any order."""
    model = tiny("bert")
    selection = select_layers(model, [padded(model, ragged())], score=score_named("manual", layers=[2, 0]))
    assert selection.layers == [0, 2]


@pytest.mark.parametrize("layers", [[3], [-1], [0, 99]])
def test_manual_refuses_layers_that_the_model_lacks(layers: list[int]) -> None:
    """PEFT would silently adapt only those that exist."""
    model = tiny("bert")
    with pytest.raises(UserError, match="expected indices from 0 to 2"):
        select_layers(model, [padded(model, ragged())], score=score_named("manual", layers=layers))


@pytest.mark.parametrize(("layers", "expected"), [([], "got none"), ([1, 1], "each layer once")])
def test_manual_refuses_an_empty_list_and_a_repeated_layer(layers: list[int], expected: str) -> None:
    """The check of the options refuses both."""
    (problem,) = score_named("manual", layers=layers).problems()
    assert expected in problem


def test_unknown_names_list_the_known_ones() -> None:
    """This holds for scores and for a score's options."""
    with pytest.raises(
        UserError,
        match=f"score: expected one of {', '.join(score_names())}, but got 'ckaa'",
    ):
        score_named("ckaa")
    with pytest.raises(
        UserError,
        match=r"option of score 'cka': expected one of n, cumulative, max_cost, max_parameters, .* got 'kernal'",
    ):
        score_named("cka", kernal="rbf")
    with pytest.raises(UserError, match="option of score 'last': expected one of n, but got 'takes_n'"):
        score_named("last", takes_n=False)


@pytest.mark.parametrize("name", [name for name in LABEL_FREE if name != "manual"])
def test_every_score_gives_one_number_a_layer_and_is_deterministic(name: str) -> None:
    """The contract of `Score`, twice from the same seed."""
    model = tiny("bert")
    batches = [padded(model, ragged([9] * 6))]
    first, second = (select_layers(model, batches, score=few(name), pooling="mean", seed=3) for _ in range(2))
    assert len(first.scores) == len(first.reasons) == len(first.modules) == N_LAYERS
    assert first == second
    assert first.score == name
