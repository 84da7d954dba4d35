"""Budgets other than a number of layers: a highest cost of a step, parameters, and a share of all scores."""

import math
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from models import N_LAYERS, padded, ragged, tiny

from layersel.backbone.backbone import Backbone
from layersel.errors import UserError
from layersel.selection.budget import affordable_layers, layers_within, trained_parameters
from layersel.selection.cost import relative_costs, step_flops
from layersel.selection.score import Measure, Probe, Score, score_named
from layersel.selection.select import make_selection, select_layers

SHARE = "expected a share above 0 and up to 1, or null, but got "
scores = st.lists(st.floats(0.01, 1.0), min_size=1, max_size=6)


@given(values=scores, data=st.data())
def test_no_dearer_set_and_no_better_one(values: list[float], data: st.DataObject) -> None:
    """Of all sets of n layers, or fewer where no n are cheap enough, that cost no more the chosen has the best sum."""
    weights = data.draw(st.lists(st.integers(1, 9), min_size=len(values), max_size=len(values)))
    head, n = data.draw(st.integers(0, 9)), data.draw(st.integers(1, len(values)))
    cheapest = relative_costs(weights, head)[-1]
    limit = data.draw(st.floats(cheapest, 1.0))
    score = Measure(n=n, max_cost=limit)
    affordable = affordable_layers(score, weights, head)
    chosen = layers_within(score, torch.tensor(values, dtype=torch.float64), affordable, set())
    whole = step_flops(weights, head, range(len(values)))
    within = [
        layers
        for count in range(1, n + 1)
        for layers in combinations(range(len(values)), count)
        if step_flops(weights, head, layers) / whole <= limit
    ]
    assert tuple(chosen) in within
    assert math.isclose(sum(values[layer] for layer in chosen), max(sum(values[i] for i in own) for own in within))


@given(values=scores, data=st.data())
def test_parameters_are_spent_in_the_order_of_the_scores(values: list[float], data: st.DataObject) -> None:
    """Each layer that still fits, one by one; no more than n; where all are of one size no set has a higher sum."""
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=len(values), max_size=len(values)))
    most, n = data.draw(st.integers(1, 30)), data.draw(st.integers(1, len(values)))
    values_L = torch.tensor(values, dtype=torch.float64)
    expected, left = [], most
    for layer in sorted(range(len(values)), key=lambda own: (values[own], own), reverse=True):
        if sizes[layer] <= left:
            expected.append(layer)
            left -= sizes[layer]
    every = range(len(values))
    assert layers_within(Measure(n=None, max_parameters=most), values_L, every, set(), sizes) == sorted(expected)
    assert layers_within(Measure(n=n, max_parameters=most), values_L, every, set(), sizes) == sorted(expected[:n])
    alike = layers_within(Measure(n=None, max_parameters=most), values_L, every, set(), [sizes[0]] * len(values))
    count = min(most // sizes[0], len(values))
    assert len(alike) == count
    assert math.isclose(sum(values[layer] for layer in alike), sum(sorted(values)[len(values) - count :]))


@given(values=scores, share=st.floats(0.01, 1.0))
def test_the_fewest_layers_hold_the_share(values: list[float], share: float) -> None:
    """No smaller set holds it; each share contains the layers of a smaller one."""
    score = Measure(n=None, cumulative=share)
    values_L = torch.tensor(values, dtype=torch.float64)
    chosen = layers_within(score, values_L, range(len(values)), set())
    wanted = share * sum(values) * (1 - 1e-9)
    assert sum(values[layer] for layer in chosen) >= wanted * (1 - 1e-12)
    fewer = combinations(range(len(values)), len(chosen) - 1)
    assert all(sum(values[layer] for layer in own) < wanted for own in fewer)
    less = layers_within(Measure(n=None, cumulative=share / 2), values_L, range(len(values)), set())
    assert set(less) <= set(chosen)


def test_excluded_and_negative_scores_hold_nothing() -> None:
    """As those of debiased CKA; where nothing is above 0 there are no shares."""
    values_L = torch.tensor([math.nan, 3.0, -5.0, 1.0])
    assert layers_within(Measure(n=None, cumulative=0.75), values_L, range(4), {0}) == [1]
    assert layers_within(Measure(n=None, cumulative=1.0), values_L, range(4), {0}) == [1, 3]
    with pytest.raises(UserError, match=r"^selection\.cumulative: expected scores above 0"):
        layers_within(Measure(n=None, cumulative=0.5), -values_L.abs(), range(4), {0})


def test_in_a_model() -> None:
    """The table says why a layer was not chosen, and what is too cheap for any layer is refused before the scores."""
    model = tiny("bert")
    texts = [padded(model, ragged((7, 12, 5, 9, 4, 8, 11, 3), cls=2))]
    limited = score_named("cka", n=2, max_cost=0.9)
    found = select_layers(model, texts, score=limited, pooling="mean")
    assert found.layers == [1, 2]
    assert found.reasons[0].endswith("too low for selection.max_cost")
    with pytest.raises(UserError, match=r"^selection\.max_cost: expected at least 0\.\d\d, what"):
        select_layers(model, texts, score=score_named("cka", max_cost=0.1), pooling="mean")
    whole = select_layers(model, texts, score=score_named("cka", n=None, cumulative=1.0), pooling="mean")
    assert whole.layers == list(range(N_LAYERS))
    assert whole.stability is not None


def test_a_layer_that_does_not_fit_is_passed_over() -> None:
    """The table says so, also of a resample; and what fits no layer, or counts none, is refused before the scores."""
    backbone = Backbone(tiny("bert"), pooling="mean")
    probe = Probe([padded(backbone.model, ragged((7, 12, 5, 9, 4, 8, 11, 3), cls=2))], torch.Generator().manual_seed(0))
    best = make_selection(backbone, score_named("cka", n=1), probe).layers[0]
    sizes = [5 if layer == best else 2 for layer in range(N_LAYERS)]
    score = score_named("cka", n=None, max_parameters=4)
    found = make_selection(backbone, score, probe, count=lambda _: sizes)
    assert found.layers == [layer for layer in range(N_LAYERS) if layer != best]
    assert found.reasons[best] == "rank 1 of 3; too large for what is left of selection.max_parameters"
    assert found.stability.chosen_share == [float(layer != best) for layer in range(N_LAYERS)]
    whole = make_selection(backbone, score_named("cka", n=None, max_parameters=5), probe, count=lambda _: sizes)
    assert whole.layers == [best]
    assert all("beyond the budget of 1" in whole.reasons[layer] for layer in range(N_LAYERS) if layer != best)
    with pytest.raises(UserError, match=r"^selection\.max_parameters: expected at least 5, what .* but got 4$"):
        trained_parameters(score, backbone, lambda _: sizes, range(best, best + 1))
    for count in (None, lambda _: None):
        with pytest.raises(UserError, match=r"^selection\.max_parameters: expected an adapter .* but got none; use"):
            make_selection(backbone, score, probe, count=count)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"n": 2, "cumulative": 0.9}, "selection.cumulative=0.9: expected no other budget, but got n=2"),
        (
            {"n": None, "cumulative": 1.5},
            "selection.cumulative: " + SHARE + "1.5",
        ),
        ({"max_cost": 0}, "selection.max_cost: " + SHARE + "0"),
        ({"n": None, "max_parameters": 0}, "selection.max_parameters: expected at least 1, or null, but got 0"),
    ],
)
def test_bad_budgets(options: dict[str, float | None], line: str) -> None:
    """One line each, before anything runs."""
    assert score_named("cka", **options).problems() == [line]


def test_scores_below_zero_have_no_shares() -> None:
    """A share of plop's scores, all below 0, is refused before the probe; the least cost that is named would do."""
    (line,) = score_named("plop", n=None, cumulative=0.9).problems()
    assert line.startswith("selection.cumulative: the scores of plop are below 0")
    with pytest.raises(UserError, match=r"expected at least 0\.63,"):
        affordable_layers(Measure(max_cost=0.62), [1, 1, 1, 1], 0)
    assert affordable_layers(Measure(max_cost=0.63), [1, 1, 1, 1], 0) == range(3, 4)
    with pytest.raises(UserError, match=r"^selection\.max_cost: expected a model with linear modules"):
        affordable_layers(Measure(max_cost=0.63), [0, 0], 0)


def test_controls_have_a_number_only() -> None:
    """A share of an order means nothing."""
    assert not isinstance(score_named("last"), Measure)
    assert affordable_layers(Score(n=1), [1, 1], 0) == range(2)
