"""Figures of several outcomes, and figures as files."""

import math
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from layersel.terminal.figures import PNG, SVG, grouped_bars, write_figures

VALUES = {"one $ of $ two^{": {"base": 0.5, "mine": 0.75}, "other": {"base": math.nan, "mine": 0.25}}
ERRORS = {"one $ of $ two^{": {"base": 0.125, "mine": math.nan}, "other": {"base": math.nan, "mine": 0.0625}}


def bars() -> Figure:
    """Two datasets, two outcomes, one of which one dataset lacks."""
    return grouped_bars(VALUES, "AWSS@95", ERRORS)


def test_a_figure_is_written_in_several_forms(tmp_path: Path) -> None:
    """The first form is returned; the same figure gives the same bytes; a $ in a name begins no formula."""
    files = write_figures({"bars": bars()}, tmp_path / "first", (PNG, SVG))
    assert files == {"bars": tmp_path / "first" / "bars.png"}
    write_figures({"bars": bars()}, tmp_path / "again", (PNG, SVG))
    for name in ("bars.png", "bars.svg"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert "<svg" in (tmp_path / "first" / "bars.svg").read_text(encoding="utf-8")


def test_error_bars_stand_where_there_are_errors() -> None:
    """A bar for each number, an error bar for each error, around the top of its bar."""
    (axes,) = bars().axes
    heights = [bar.get_height() for container in axes.containers[1::2] for bar in container]
    assert heights == pytest.approx([0.5, math.nan, 0.75, 0.25], nan_ok=True)
    segments = [own for lines in axes.collections for own in lines.get_segments() if own.ndim == 2]  # type: ignore[attr-defined]
    known = [tuple(own[:, 1]) for own in segments if not math.isnan(own[0, 1])]
    assert known == [pytest.approx((0.375, 0.625)), pytest.approx((0.1875, 0.3125))]
