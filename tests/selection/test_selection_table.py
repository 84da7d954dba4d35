"""A selection as a person sees it: on the terminal, as a figure, as the rows of a dashboard."""

from dataclasses import replace

import pytest
from models import padded, ragged, tiny

from layersel.selection.figure import layer_scores
from layersel.selection.score import STATES, score_named, score_names
from layersel.selection.select import select_layers
from layersel.selection.selection import Selection
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


@both
def test_positions_are_not_drawn_as_scores(measured: bool) -> None:
    """Without an axis of values, bars of different heights would say what nobody measured."""
    (axes,) = layer_scores(replace(SELECTION, measured=measured)).axes
    assert axes.yaxis.get_visible() == measured
    assert [bar.get_height() for bar in axes.patches] == [0.0 if measured else 1.0, 1.0]
    assert len({bar.get_facecolor() for bar in axes.patches}) == 2
    assert axes.get_title() == "1 of 2 layers chosen by last (blue)"


@pytest.mark.parametrize("name", [name for name in score_names() if score_named(name).needs <= {STATES}])
def test_controls_measure_nothing(name: str) -> None:
    """Their class says so, and the selection keeps it in files and checkpoints."""
    score = score_named(name, **({"layers": [0]} if name == "manual" else {}))
    selection = select_layers(model := tiny("bert"), [padded(model, ragged())], score=score)
    assert selection.measured == bool(score.needs) == (name in ("cka", "cka_paper"))
    assert Selection.from_dict(selection.to_dict()) == selection
