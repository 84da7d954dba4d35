"""Mean curves of configurations and of what stands beside them, against averages by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cell_folders import make_cell

from layersel.sweep.cells import as_table
from layersel.sweep.configurations import configurations, named
from layersel.sweep.curves import COLUMNS, MeanCurve, MeanCurves, as_frame, mean_curves
from layersel.sweep.grouping import group
from layersel.sweep.rows import collect_rows
from layersel.tasks.task import Metric

AWSS = Metric("awss@95", "AWSS@95")
Y = dict[str, list[float | None]]


def curves(x: list[float], y: Y, name: str = "gain") -> dict[str, Any]:
    """The content of a cell's `curves.json`."""
    return {name: {"title": "Gain", "x_title": "read", "y_title": "found", "x": x, "y": y}}


def means(output: Path) -> dict[str, MeanCurves]:
    """The mean curves of all cells in a folder."""
    cells = as_table(collect_rows([output]).rows)
    cells = named(cells, configurations(cells))
    groups = group(cells, AWSS)
    return mean_curves(cells, AWSS, groups.loc[groups["kind"] == "ranked", "configuration"].unique().tolist())


def line(several: MeanCurves, name: str) -> MeanCurve:
    """The only curve of that name."""
    (found,) = (own for own in several.lines if own.name == name)
    return found


def test_means_and_bands_by_hand(tmp_path: Path) -> None:
    """Datasets weigh the same however many seeds they have; the band is of their means where there are three."""
    draw = np.random.default_rng(0)
    seeds = {"A": 1, "B": 3, "C": 2}
    drawn = {(n, dataset, seed): draw.uniform(size=(2, 4)) for n in (1, 2) for dataset in seeds for seed in range(3)}
    for (n, dataset, seed), (own, _) in drawn.items():
        if seed < seeds[dataset]:
            recorded = curves(
                [0.0, 1.0, 2.0, 3.0], {"adapted": own.tolist(), "base": drawn[1, dataset, seed][1].tolist()}
            )
            make_cell(tmp_path, 0.5 + 0.1 * n, n=n, dataset=dataset, seed=seed, curves=recorded)
    (several,) = means(tmp_path).values()
    assert (several.title, several.x_title, several.y_title) == ("Gain", "read", "found")
    assert [own.name for own in several.lines] == ["n=2", "n=1", "base (no adapter)"]  # the best first
    for name, n, which in (("n=1", 1, 0), ("n=2", 2, 0), ("base (no adapter)", 1, 1)):
        found = line(several, name)
        by_dataset = [
            np.mean([drawn[n, own, seed][which] for seed in range(count)], axis=0) for own, count in seeds.items()
        ]
        assert (found.n, found.unit, found.x) == (6, "dataset", [0, 1, 2, 3])
        assert found.kind == ("ranked" if which == 0 else "baseline")
        assert found.mean == pytest.approx(np.mean(by_dataset, axis=0), abs=1e-5)
        assert found.low == pytest.approx(np.percentile(by_dataset, 25, axis=0), abs=1e-5)
        assert found.high == pytest.approx(np.percentile(by_dataset, 75, axis=0), abs=1e-5)


def test_of_one_dataset_the_band_is_of_the_seeds(tmp_path: Path) -> None:
    """The band is that of the cells, and a single cell has none."""
    for seed, value in enumerate((1.0, 2.0, 4.0)):
        make_cell(tmp_path / "three", seed=seed, curves=curves([0.0], {"adapted": [value]}))
    (found,) = means(tmp_path / "three")["gain"].lines
    assert (found.mean, found.low, found.high, found.unit) == ([2.33333], [1.5], [3.0], "dataset and seed")
    make_cell(tmp_path / "one", curves=curves([0.0], {"adapted": [1.0]}))
    (found,) = means(tmp_path / "one")["gain"].lines
    assert found.mean == [1.0]
    assert np.isnan([*found.low, *found.high]).all()


def test_only_points_and_cells_that_are_compared_count(tmp_path: Path) -> None:
    """Points that all of the cells have; seeds that all configurations have; no incomplete configuration."""
    for n, seed, values in (
        (1, 0, [1.0, 2.0, 3.0]),
        (1, 1, [9.0, 9.0, 9.0]),
        (2, 0, [5.0, 6.0, 7.0]),
        (3, 0, [0.0] * 3),
    ):
        make_cell(tmp_path, n=n, seed=seed, curves=curves([1.0, 2.0, 3.0], {"adapted": list(values)}))
    make_cell(tmp_path, state="failed", n=3, seed=1)
    make_cell(tmp_path, n=1, seed=0, dataset="B", curves=curves([2.0, 3.0, 4.0], {"adapted": [4.0, 6.0, 8.0]}))
    make_cell(tmp_path, n=2, seed=0, dataset="B", curves=curves([1.0, 2.0, 3.0], {"adapted": [0.0] * 3}))
    several = means(tmp_path)["gain"]
    assert [own.name for own in several.lines] == ["n=1", "n=2"]
    found = line(several, "n=1")
    assert (found.x, found.mean, found.n) == ([2.0, 3.0], [3.0, 4.5], 2)


def test_cells_without_curves_have_none(tmp_path: Path) -> None:
    """Runs of earlier versions and of tasks that record none are left out; those that have some are averaged."""
    make_cell(tmp_path, seed=0)
    assert means(tmp_path) == {}
    assert list(as_frame({}).columns) == list(COLUMNS)
    make_cell(
        tmp_path, seed=1, curves=curves([0.0, 1.0], {"adapted": [1.0, None]}) | curves([5.0], {"other": [1.0]}, "x")
    )
    assert list(means(tmp_path)) == ["gain"]
    frame = as_frame(means(tmp_path))
    assert frame[["curve", "name", "kind", "n", "x", "mean"]].to_numpy().tolist()[0] == [
        "gain",
        "selection=cka n=3",
        "ranked",
        1,
        0.0,
        1.0,
    ]
    assert pd.isna(frame["mean"].iloc[1])
