"""What the command writes, prints and returns."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cell_folders import make_cell, make_grid, seal
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

from layersel.errors import UserError
from layersel.sweep import collecting
from layersel.sweep.__main__ import main
from layersel.sweep.cells import as_table
from layersel.sweep.configurations import configurations, named
from layersel.sweep.dataset_bars import dataset_bars
from layersel.sweep.grouping import group
from layersel.sweep.rows import collect_rows
from layersel.sweep.summary import summarise
from layersel.tasks.task import Metric

TABLES = ("cells", "groups", "comparisons", "curves", "agreement", "regrets", "chosen_layers")
FILES = {f"{name}.csv" for name in TABLES} | {"cells.parquet", "results.md", "report.html", "summary.json"}
FILES |= {"datasets.png", "datasets.svg"}
TITLE = 'Beta, "blockers"\nand more; βü 😀'


@pytest.fixture(autouse=True)
def reported(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the report was given, each time that it was made; its file holds the title alone, and the figure nothing."""
    calls: list[Any] = []

    def report_html(title: str, metric: Metric, **records: Any) -> str:
        calls.append((title, metric, records))
        return title

    monkeypatch.setattr(collecting, "dataset_bars", lambda *_: Figure(figsize=(1, 1)))
    monkeypatch.setattr(collecting, "report_html", report_html)
    return calls


def test_a_grid_is_summarised_in_its_folder(
    tmp_path: Path, reported: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Every file, and the tables on the terminal; a cell that failed is shown and makes the answer false."""
    done = [make_cell(tmp_path, value, selection=own) for own, value in (("none", 0.25), ("cka", 0.5))]
    failed = make_cell(tmp_path, state="failed", error="ValueError: [bold]no\nlayers", seed=1)
    recorded = [{"state": state, "cell": cell.name} for state, cell in zip(["finished"] * 2, done, strict=True)]
    recorded.append({"state": "failed", "cell": failed.name, "error": "ValueError: [bold]no layers"})
    grid = make_grid(tmp_path, "budget", [(["y=1", f"x={num}"], job) for num, job in enumerate([*recorded, None])])
    assert summarise(grid, [grid]) is False
    assert {file.name for file in grid.iterdir() if file.is_file()} == FILES | {"grid.json"}
    printed = capsys.readouterr().out
    for expected in ("4 cells: 2 finished, 1 failed, 1 missing", "selection=cka", "0.500 ± -", "0.250", "1/0/0", "x=3"):
        assert expected in printed
    assert "base (no adapter)" in printed
    assert re.search(r"selection=cka +│ all datasets │ 1 of 2 │ 0.500", printed)
    assert "ValueError: [bold]no layers" in printed
    assert "y=1" not in printed  # as all jobs have it
    title, metric, records = reported[0]
    assert (title, metric) == ("budget", Metric("awss@95", "AWSS@95", higher_is_better=True))
    cells, groups, comparisons = (records[name] for name in ("cells", "groups", "comparisons"))
    assert (len(cells), len(groups), len(comparisons)) == (4, 6, 3)
    assert groups[0]["std"] is None
    assert {type(value) for record in (*cells, *groups, *comparisons) for value in record.values()} <= {
        str, int, float, bool, type(None),
    }  # fmt: skip


def test_files_hold_what_was_collected(tmp_path: Path) -> None:
    """CSV and Parquet alike, types kept, with titles that a careless writer would break; the same in every call."""
    make_cell(tmp_path, 1 / 3, dataset=TITLE, options={"x.flag": True, "x.number": None})
    make_cell(tmp_path, None, dataset=TITLE, seed=1, options={"x.flag": True, "x.number": 4})
    make_cell(tmp_path, state="failed", error=TITLE, dataset=TITLE, seed=2)
    assert main([str(tmp_path)]) == 1
    cells = as_table(collect_rows([tmp_path]).rows)
    table = named(cells, configurations(cells)).table
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "cells.parquet"), table)
    read = pd.read_csv(tmp_path / "cells.csv", dtype=dict(table.dtypes))
    pd.testing.assert_frame_equal(read, table)
    assert read["dataset"].unique().tolist() == [TITLE]
    first = {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.name in FILES}
    assert main([str(tmp_path)]) == 1
    assert {name: (tmp_path / name).read_bytes() for name in first} == first
    assert pd.read_csv(tmp_path / "groups.csv")["dataset"].tolist().count(TITLE) == 4


def test_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0 if all have finished, 1 if not, 2 with one line for what cannot be used."""
    make_cell(tmp_path / "runs")
    assert main([str(tmp_path / "runs")]) == 0
    make_cell(tmp_path / "runs", state="failed", seed=1)
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 1
    assert {file.name for file in (tmp_path / "out").iterdir()} == FILES
    capsys.readouterr()
    for wrong in (["nowhere"], ["runs", "--metric", "x"], ["runs", "--reference", "n"], ["runs", "runs"], ["ru*"]):
        assert (
            main([str(tmp_path / wrong[0]), *(str(tmp_path / own) if own == "runs" else own for own in wrong[1:])]) == 2
        )
        printed = capsys.readouterr()
        assert (printed.out, printed.err.count("\n")) == ("", 1)
        assert printed.err.startswith("error: ")


def test_folders_that_cannot_be_written_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In one line."""
    make_cell(tmp_path)
    (tmp_path / "file").touch()
    assert main([str(tmp_path), "--out", str(tmp_path / "file")]) == 2
    says = f"error: {str(tmp_path / 'file')!r}: expected a folder or nothing there, but got a file; remove it\n"
    assert capsys.readouterr().err == says


def test_running_cells_of_dead_processes_are_interrupted(tmp_path: Path) -> None:
    """The run folder knows."""
    folder = make_cell(tmp_path, state="running")
    seal(folder, "running", holder={"host": "elsewhere", "namespace": "", "pid": 1, "born": 0.0, "mark": "t"})
    os.utime(folder / "status.json", (1, 1))
    assert summarise(tmp_path, [tmp_path]) is False
    assert pd.read_csv(tmp_path / "cells.csv")["state"].tolist() == ["interrupted"]


def test_a_mean_over_some_values_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """How many, and why; where nothing can be ranked, a line says that."""
    for n, dataset in ((1, "A"), (1, "B"), (2, "A")):
        make_cell(tmp_path, n=n, dataset=dataset)
    assert summarise(tmp_path, [tmp_path], reference="n=1")
    assert "over the 1 split (a dataset under a seed) that every ranked configuration has" in capsys.readouterr().out
    make_cell(tmp_path, state="failed", n=1, dataset="A", seed=1)
    make_cell(tmp_path, state="failed", n=2, dataset="B")
    make_cell(tmp_path, n=2, dataset="A", seed=1)
    assert not summarise(tmp_path, [tmp_path], reference="n=1")
    assert "no configuration has a value in all of its cells, so none is ranked" in capsys.readouterr().out


def test_incomplete_configurations_stand_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Below the ranked ones, with their values and what they lack."""
    for n, values in ((1, [0.3, 0.5]), (2, [0.875])):
        for seed, value in enumerate(values):
            make_cell(tmp_path, value, n=n, seed=seed)
    make_cell(tmp_path, state="failed", error="out of memory", n=2, seed=1)
    assert summarise(tmp_path, [tmp_path]) is False
    ranked, _, apart = capsys.readouterr().out.partition("incomplete configurations, which are not ranked")
    assert re.search(r"n=1 +│ all datasets │ 2 │ 0.400 ± 0.141 │ - +│ \*", ranked)
    assert re.search(r"base \(no adapter\) │ all datasets │ 2 │ 0.400 ± 0.000", ranked)
    assert "0.875" not in ranked
    assert re.search(r"n=2 +│ 1 of 2 │ 0.875 ± - +│ seed 1", apart)


def test_many_datasets_are_not_all_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The mean over them is, and where the rest is found."""
    for number in range(45):
        make_cell(tmp_path, dataset=f"R{number}")
    assert summarise(tmp_path, [tmp_path])
    printed = capsys.readouterr().out
    assert "92 rows, those of each dataset among them, are in groups.csv" in printed
    assert ("R17" in printed, "│ all datasets │ 45 │" in printed) == (False, True)


def test_errors_of_a_library_call(tmp_path: Path) -> None:
    """As for every other part: a user's error."""
    with pytest.raises(UserError, match=r"^folder: "):
        summarise(tmp_path, [tmp_path])


def test_what_has_not_changed_is_not_computed_again(
    tmp_path: Path, reported: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """The same text and the same files; another cell, option, title or a changed file is computed."""
    out = tmp_path / "out"
    make_cell(tmp_path / "runs", selection="none")
    changed = make_cell(tmp_path / "runs", 0.75)
    runs = [tmp_path / "runs"]

    def printed(**options: Any) -> str:
        summarise(out, runs, **options)
        return capsys.readouterr().out

    first = printed()
    files = {file.name: file.stat().st_mtime_ns for file in out.iterdir()}
    assert printed() == first
    assert {file.name: file.stat().st_mtime_ns for file in out.iterdir()} == files
    assert (set(files), len(reported)) == (FILES, 1)
    whole = (out / "groups.csv").read_bytes()
    for count, damage in enumerate((Path.unlink, lambda file: file.write_text("x")), start=2):
        damage(out / "groups.csv")
        assert printed() == f"made again: groups.csv changed since the last call\n{first}"
        assert ((out / "groups.csv").read_bytes(), len(reported)) == (whole, count)
    (out / "summary.json").write_text("[]")
    assert printed() == f"made again: summary.json is damaged or of a former version (it has no checksum)\n{first}"
    assert len(reported) == 4
    assert "differences in base/awss@95" in printed(metric="base/awss@95")
    (changed / "metrics.json").write_text(json.dumps({"awss@95": 0.8125, "base/awss@95": 0.4}))
    seal(changed)
    assert "0.812" in printed(metric="base/awss@95") + printed()
    make_cell(tmp_path / "runs", state="failed", error="ValueError: no", seed=1)
    assert "2 finished, 1 failed" in printed()


def test_files_of_the_same_cells_need_no_pandas(tmp_path: Path) -> None:
    """Nor anything else that takes long to import; what is printed is the same, in whatever width."""
    make_cell(tmp_path)
    code = f"""
import sys
from layersel.sweep.__main__ import main
status = main([{str(tmp_path)!r}])
print(status, sorted({{"torch", "numpy", "pandas", "scipy", "pyarrow"}} & set(sys.modules)))
"""
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    first, again = (run.stdout.rpartition("\n0 ") for run in runs)
    assert first[0] == again[0]
    assert ("pandas" in first[2], again[2]) == (True, "[]\n")


def test_collecting_loads_no_deep_learning() -> None:
    """It starts in a second or two, and on machines that only look at results."""
    heavy = {"torch", "lightning", "transformers", "peft", "sklearn", "wandb", "hydra"}
    code = f"import sys, layersel.sweep.collecting; print({heavy!r} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_datasets_figure_has_every_configuration_and_merge(tmp_path: Path) -> None:
    """Means and standard deviations over the seeds, without an adapter, of merged adapters too, by dataset."""
    values = {("A", 0): 0.5, ("A", 1): 0.75, ("B", 0): 0.25, ("B", 1): 0.25}
    for (dataset, seed), value in values.items():
        make_cell(tmp_path, value, dataset=dataset, seed=seed, metrics={"base/awss@95": value / 2})
    for seed in range(2):
        metrics = {"A/awss@95": 0.6 + 0.2 * seed, "B/awss@95": 0.5, "A/base/awss@95": 0, "B/base/awss@95": 0}
        own = {"dataset": "A+B", "merging": "hybrid", "options": {"merging": "hybrid"}}
        make_cell(tmp_path, 0.6, seed=seed, metrics=metrics, **own)
    cells = as_table(collect_rows([tmp_path]).rows)
    table, metric = named(cells, configurations(cells)), Metric("awss@95", "AWSS@95")
    figure = dataset_bars(table.table, group(table, metric), "base", metric)
    assert figure is not None
    (axes,) = figure.axes
    assert [words.get_text() for words in axes.get_xticklabels()] == ["A", "B"]
    bars = [[bar.get_height() for bar in own] for own in axes.containers if isinstance(own, BarContainer)]
    assert bars == [pytest.approx([0.3125, 0.125]), pytest.approx([0.7, 0.5]), pytest.approx([0.625, 0.25])]
    spreads = [own[0, 1] - own[1, 1] for lines in axes.collections for own in lines.get_segments()]  # type: ignore[attr-defined]
    expected = [0.25 / 2, 0, 0.2, 0, 0.25, 0]  # of two values the deviation is their difference by √2
    assert np.abs(spreads) / 2 == pytest.approx(np.array(expected) / 2**0.5)
    assert dataset_bars(table.table.iloc[:0], group(table, metric).iloc[:0], "base", metric) is None
