"""Lines on the terminal."""

import pytest

from layersel.terminal.tables import note


def test_what_cells_have_in_common_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A line that is asked for once is printed once, any other each time; None is no line."""
    for _ in range(2):
        note("[bold]300 texts", once=True)
        note("a cell's own")
        note(None, once=True)
    assert capsys.readouterr().out.splitlines() == ["[bold]300 texts", "a cell's own", "a cell's own"]
