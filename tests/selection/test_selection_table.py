"""The table of layers on the terminal."""

import pytest

from layersel.selection.selection import Selection
from layersel.selection.table import show_selection

SELECTION = Selection("last", [0.0, 1.0], [1], ["rank 2 of 2; beyond", "rank 1 of 2; within"], [{}, {}])


@pytest.mark.parametrize("measured", [True, False])
def test_positions_are_not_shown_as_scores(measured: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """A control orders the layers and measures nothing; its choice and the reasons are shown."""
    show_selection(SELECTION, measured)
    printed = capsys.readouterr().out
    assert ("1.0000" in printed, " score " in printed) == (measured, measured)
    assert "yes" in printed
    assert "rank 1 of 2; within" in printed
