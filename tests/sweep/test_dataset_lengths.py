"""The figure of how long each dataset's texts are, against quantiles of made lengths."""

from pathlib import Path
from typing import Any

import numpy as np
from cell_folders import make_cell
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch

from layersel.sweep.cells import as_table
from layersel.sweep.dataset_lengths import OF_GROUPS, dataset_lengths, recorded_lengths
from layersel.sweep.rows import collect_rows

SHARES = [percent / 100 for percent in range(101)]


def lengths(limit: int | None = 512, **groups: list[int]) -> dict[str, Any]:
    """What a cell records of groups of texts."""
    y = {name: np.quantile(own, SHARES).tolist() for name, own in groups.items()}
    return {"lengths": {"title": "L", "x_title": "share", "y_title": "tokens", "x": SHARES, "y": y, "limit": limit}}


def drawn(output: Path) -> Figure:
    """The figure of all cells in a folder."""
    return dataset_lengths(recorded_lengths(as_table(collect_rows([output]).rows)))


def boxes(figure: Figure, group: int) -> dict[float, tuple[float, float]]:
    """The quartiles of the boxes of a group, by the middles of the boxes."""
    own = [part for part in figure.axes[0].patches if isinstance(part, PathPatch)]
    corners = [np.asarray(part.get_path().vertices) for part in own if part.get_edgecolor()[:3] == colour(group)]
    return {round(float(xy[:4, 0].mean()), 6): (float(xy[:, 1].min()), float(xy[:, 1].max())) for xy in corners}


def colour(group: int) -> tuple[float, ...]:
    """A group's colour in parts of one."""
    return tuple(int(OF_GROUPS[group][place : place + 2], 16) / 255 for place in (1, 3, 5))


def test_each_group_has_its_box_beside_the_limit(tmp_path: Path) -> None:
    """Quartiles, the median, whiskers at 5 and 95 %; a group that a dataset lacks leaves its place empty."""
    draw = np.random.default_rng(0)
    included, excluded, other = (draw.integers(1, 700, size).tolist() for size in (20, 301, 50))
    make_cell(tmp_path, dataset="B $1 or $2", curves=lengths(included=other, limit=256))
    make_cell(tmp_path, dataset="A", curves=lengths(included=included, excluded=excluded))
    figure = drawn(tmp_path)
    (axes,) = figure.axes
    assert [word.get_text() for word in axes.get_xticklabels()] == ["A", r"B \$1 or \$2"]
    quartiles = {name: tuple(np.quantile(own, [0.25, 0.75])) for name, own in (("a", included), ("b", other))}
    assert boxes(figure, 0) == {-0.2: quartiles["a"], 0.8: quartiles["b"]}
    assert boxes(figure, 1) == {0.2: tuple(np.quantile(excluded, [0.25, 0.75]))}
    heights = {tuple(line.get_ydata()) for line in axes.lines}  # type: ignore[arg-type]
    for own in (included, excluded, other):
        low, first, middle, third, high = np.quantile(own, [0.05, 0.25, 0.5, 0.75, 0.95])
        assert {(middle, middle), (first, low), (third, high)} <= heights
    (limits,) = (part for part in axes.collections if isinstance(part, LineCollection))
    ends = [own.tolist() for own in limits.get_segments()]
    assert ends == [[[-0.5, 512], [0.5, 512]], [[0.5, 256], [1.5, 256]]]
    assert [word.get_text() for word in figure.legends[0].get_texts()] == ["included", "excluded", "limit of the model"]


def test_models_count_tokens_each_in_its_own_way(tmp_path: Path) -> None:
    """Each dataset has boxes of every model, from one cell of each; a cell without lengths does no harm."""
    make_cell(tmp_path, curves=lengths(texts=[1, 2, 3], limit=None))
    make_cell(tmp_path, seed=1, curves=lengths(texts=[1, 2, 3], limit=None))
    make_cell(tmp_path, model="mpnet", curves=lengths(texts=[2, 4, 6], limit=None))
    make_cell(tmp_path, dataset="Z")
    figure = drawn(tmp_path)
    names = [word.get_text() for word in figure.axes[0].get_xticklabels()]
    assert names == ["NSAIDS\nminilm", "NSAIDS\nmpnet"]
    assert [*boxes(figure, 0).values()] == [(1.5, 2.5), (3, 5)]
    assert [word.get_text() for word in figure.legends[0].get_texts()] == ["texts"]


def test_without_recorded_lengths_there_is_none(tmp_path: Path) -> None:
    """As in the grids of other tasks."""
    make_cell(tmp_path)
    assert recorded_lengths(as_table(collect_rows([tmp_path]).rows)) == {}
