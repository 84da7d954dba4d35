"""A selection as a person sees it: on the terminal, as a figure, as the rows of a dashboard."""

import math
from dataclasses import replace

import pytest
from label_free import LABEL_FREE, MEASURING, few
from models import padded, ragged, tiny

from layersel.selection.dashboard import layer_curves, selection_summary
from layersel.selection.figure import layer_scores
from layersel.selection.select import select_layers
from layersel.selection.selection import Selection, Stability
from layersel.selection.table import show_selection

SELECTION = Selection("last", [0.0, 1.0], [1], ["rank 2 of 2; beyond", "rank 1 of 2; within"], [{}, {}])
both = pytest.mark.parametrize("measured", [True, False])


@both
def test_positions_are_not_shown_as_scores(measured: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """A control orders the layers and measures nothing; its choice and the reasons are shown."""
    selection = replace(SELECTION, measured=measured)
    show_selection(selection)
    printed = capsys.readouterr().out
    assert ("1.0000" in printed, " score " in printed) == (measured, measured)
    assert "yes" in printed
    assert "rank 1 of 2; within" in printed
    columns, rows = selection.table()
    assert columns == ["layer", *["score"] * measured, "chosen", "why"]
    assert rows[1] == [1, *[1.0] * measured, True, "rank 1 of 2; within"]


@pytest.mark.parametrize(
    ("scores", "printed"),
    [
        ([4.7e-5, 6.4e-5], "6.400e-05"),
        ([-0.0314, 3.11e31], "3.110e+31"),
        ([math.nan, 12.5], "12.5000"),
        ([0, 0], "0.0000"),
    ],
)
def test_scores_of_any_size_are_told_apart(
    scores: list[float], printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four places would make most of GoRA's scores 0; where they suffice, they stay."""
    show_selection(replace(SELECTION, scores=scores))
    assert printed in capsys.readouterr().out


@both
def test_positions_are_not_drawn_as_scores(measured: bool) -> None:
    """Without an axis of values, bars of different heights would say what nobody measured."""
    (axes,) = layer_scores(replace(SELECTION, measured=measured)).axes
    assert axes.yaxis.get_visible() == measured
    assert [bar.get_height() for bar in axes.patches] == [0.0 if measured else 1.0, 1.0]
    assert len({bar.get_facecolor() for bar in axes.patches}) == 2
    assert axes.get_title() == "1 of 2 layers chosen by last (blue)"


def test_resamples_and_costs_are_told_where_they_are_known() -> None:
    """In the figure, in the table, and in what a dashboard compares, where a layer without a score has none."""
    known = {"stability": Stability(4, [0.25, 0.75], 0.5), "weights": [10, 30], "scores": [math.nan, 1.0]}
    selection = replace(SELECTION, **known)
    scores, shares = layer_scores(selection).axes
    assert [bar.get_height() for bar in shares.patches] == [0.25, 0.75]
    assert [bar.get_facecolor() for bar in shares.patches] == [bar.get_facecolor() for bar in scores.patches]
    assert scores.get_title().splitlines()[1] == "a step costs 0.88 of one with all layers"  # (2·10 + 4·30) / (4·40)
    columns, rows = selection.table()
    assert columns == ["layer", "score", "chosen", "chosen in resamples", "cost as lowest", "why"]
    assert [row[3:5] for row in rows] == [[0.25, 1.0], [0.75, 0.875]]
    assert layer_curves(selection) == [
        {"layer": 0, "layer/chosen": 0, "layer/chosen in resamples": 0.25},
        {"layer": 1, "layer/score": 1, "layer/chosen": 1, "layer/chosen in resamples": 0.75},
    ]
    assert selection_summary(selection) == {"selection/stability": 0.5, "selection/cost": 0.875}
    unordered = replace(selection, stability=Stability(4, [0.25, 0.75], math.nan), layers=[])
    assert selection_summary(unordered) == selection_summary(SELECTION) == {}


@pytest.mark.parametrize("name", LABEL_FREE)
def test_controls_measure_nothing(name: str) -> None:
    """Their class says so, and the selection keeps it in files and checkpoints."""
    selection = select_layers(model := tiny("bert"), [padded(model, ragged([9] * 8))], score=few(name))
    assert selection.measured == (name in MEASURING)
    assert Selection.from_dict(selection.to_dict()) == selection
