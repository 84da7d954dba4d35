"""Cells of grids and folders as one table, whatever state they are in."""

import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from cell_folders import LABELS, dump, make_cell, make_grid

from layersel.errors import UserError
from layersel.sweep.cells import Cells, as_table
from layersel.sweep.reading import StateOf, as_recorded
from layersel.sweep.rows import collect_rows


def collect(paths: Sequence[str | Path], state_of: StateOf = as_recorded) -> Cells:
    """The cells as a table."""
    return as_table(collect_rows(paths, state_of).rows)


def rows(cells: Cells) -> list[dict[str, Any]]:
    """The table's rows as plain values, None for gaps."""
    return cells.table.astype(object).where(cells.table.notna(), None).to_dict("records")  # type: ignore[return-value]


def test_a_finished_cell_is_one_row(tmp_path: Path) -> None:
    """Labels, options, layers and metrics, each under its own name and with its own type."""
    folder = make_cell(tmp_path, 0.25, options={"adapter.projections": ["query", "value"], "adapter.alpha": None})
    cells = collect([tmp_path])
    (row,) = rows(cells)
    assert {label: row[label] for label in LABELS} == {
        "dataset": "NSAIDS", "model": "minilm", "selection": "cka", "n": 3, "adapter": "lora", "rank": 8,
        "precision": "fp32", "pruning": "none", "merging": "none", "seed": 0,
    }  # fmt: skip
    assert (row["cell"], row["state"], row["error"], row["overrides"]) == (folder.name, "finished", None, None)
    assert (row["layers"], row["n_layers"], row["awss@95"], row["n_test"]) == ("3,5", 6, 0.25, 377)
    assert (row["adapter.projections"], row["adapter.alpha"], row["selection.n"]) == ("[query,value]", None, 3)
    assert cells.metrics == ["awss@95", "base/awss@95", "parameters/trainable", "seconds/total", "n_test"]
    assert cells.options == sorted(
        ["selection.n", "adapter.rank", "adapter.projections", "adapter.alpha", "task.epochs", "order"]
    )
    assert collect_rows([tmp_path]).notes == []


@pytest.mark.parametrize("state", ["failed", "interrupted", "running"])
def test_only_finished_cells_have_metrics(tmp_path: Path, state: str) -> None:
    """Files that an earlier attempt has left are not read."""
    make_cell(tmp_path, 0.5, seed=0)
    other = make_cell(tmp_path, state=state, error="ValueError: no", seed=1)
    dump(other / "metrics.json", {"awss@95": 0.9})
    dump(other / "selection.json", {"layers": [1], "scores": [0, 1]})
    _, row = rows(collect([tmp_path]))
    assert (row["state"], row["error"], row["awss@95"], row["layers"]) == (state, "ValueError: no", None, None)


def test_who_knows_better_is_asked_about_running_cells_only(tmp_path: Path) -> None:
    """A killed process leaves a status that says running."""
    make_cell(tmp_path, seed=0)
    running = make_cell(tmp_path, state="running", seed=1)
    asked: list[Path] = []

    def gone(folder: Path) -> str:
        asked.append(folder)
        return "interrupted"

    assert collect([tmp_path], gone).table["state"].tolist() == ["finished", "interrupted"]
    assert asked == [running]


def test_the_order_of_running_leaves_no_trace(tmp_path: Path) -> None:
    """Sorted by what the cells are: numbers by size, then texts, gaps last, seeds innermost."""
    settings = [
        {"dataset": dataset, "selection": selection, "n": n, "seed": seed}
        for dataset in ("ADHD", "NSAIDS")
        for selection, n in (("cka", 0.5), ("cka", 3), ("cka", 12), ("cka", None), ("none", None))
        for seed in (0, 2, 10)
    ]
    tables = []
    for attempt in range(2):
        shuffled = random.Random(attempt).sample(settings, len(settings))
        for own in shuffled:
            make_cell(tmp_path / str(attempt), 0.5, **own)
        tables.append(collect([tmp_path / str(attempt)]).table)
    pd.testing.assert_frame_equal(*tables)
    found = [{name: row[name] for name in settings[0]} for row in rows(collect([tmp_path / "0"]))]
    assert found == settings


def test_columns_of_several_types(tmp_path: Path) -> None:
    """Whole numbers stay whole beside gaps, numbers become text beside texts, a null metric is a gap."""
    several: list[dict[str, Any]] = [
        {"whole": 1, "mixed": 0.5, "flag": True, "float": 1},
        {"whole": None, "mixed": "all", "flag": None, "float": 0.5},
        {"whole": 3, "mixed": [1, 2], "flag": False, "float": None},
    ]
    for seed, options in enumerate(several):
        make_cell(tmp_path, None, seed=seed, options={f"x.{name}": value for name, value in options.items()})
    table = collect([tmp_path]).table.sort_values("seed")
    assert table["x.whole"].tolist() == [1, pd.NA, 3]
    assert table["x.mixed"].tolist() == ["0.5", "all", "[1,2]"]
    assert table["x.flag"].dtype == "boolean"
    assert table["x.float"].dtype == table["awss@95"].dtype == "float64"
    assert table["awss@95"].isna().all()


def grid_of_all_ends(output: Path) -> Path:
    """Two seeds of a budget that finished; a wrong option; a seed and a budget that never began."""
    cells = [make_cell(output, 0.5 + seed / 10, seed=seed) for seed in (0, 1)]
    return make_grid(
        output,
        "budget",
        [
            (["selection.n=3", "seed=0"], {"state": "finished", "cell": cells[0].name}),
            (["selection.n=3", "seed=1"], {"state": "finished", "cell": cells[1].name, "reused": True}),
            (["seed=2", "selection.n=3"], {"state": "failed", "error": "adapter.rank: expected 1 or more"}),
            (["selection.n=3", "seed=30"], None),
            (["selection.n=4", "seed=0"], None),
            (["selection.n=3", "seed=x"], {"state": "failed", "error": "seed: expected a number"}),
        ],
    )


def test_jobs_without_a_cell_are_rows(tmp_path: Path) -> None:
    """They take what they are from a sibling that differs in the seed only, where there is one."""
    grid = grid_of_all_ends(tmp_path)
    make_cell(tmp_path, seed=99)  # of another grid
    found = {row["overrides"]: row for row in rows(collect([grid]))}
    assert len(found) == 6
    sibling = found["selection.n=3 seed=0"]
    for overrides, state, seed in (
        ("seed=2 selection.n=3", "failed", 2),
        ("selection.n=3 seed=30", "missing", 30),
        ("selection.n=3 seed=x", "failed", None),
    ):
        row = found[overrides]
        assert (row["cell"], row["state"], row["seed"], row["awss@95"]) == (None, state, seed, None)
        for column in (*LABELS[:-1], "variant", "configuration", "selection.n"):
            assert row[column] == sibling[column]
    assert found["seed=2 selection.n=3"]["error"] == "adapter.rank: expected 1 or more"
    lonely = found["selection.n=4 seed=0"]
    assert (lonely["state"], lonely["configuration"], lonely["dataset"], lonely["seed"]) == (
        "missing",
        None,
        None,
        None,
    )


def test_an_output_folder_is_its_cells_alone(tmp_path: Path) -> None:
    """A job that failed in an old grid is not the folder's."""
    grid_of_all_ends(tmp_path)
    (tmp_path / "shared" / "vectors").mkdir(parents=True)
    (tmp_path / ".draft").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    cells = collect([tmp_path])
    assert cells.table["seed"].tolist() == [0, 1]
    assert collect_rows([tmp_path]).notes == []


def test_what_two_grids_share_is_one_row(tmp_path: Path) -> None:
    """And a job that one grid never began is left out where the other ran it; the order of the paths is no matter."""
    first = grid_of_all_ends(tmp_path)
    zeroth = collect([first]).table["cell"].dropna().tolist()[0]
    late = make_cell(tmp_path, 0.9, seed=30)
    second = make_grid(
        tmp_path,
        "again",
        [
            (["seed=30", "selection.n=3", "task.epochs=1"], {"state": "finished", "cell": late.name}),
            (["seed=0", "selection.n=3"], {"state": "finished", "cell": zeroth}),
            (["selection.n=4", "seed=0"], None),
        ],
    )
    both = collect([first, second]).table
    pd.testing.assert_frame_equal(both, collect([second, tmp_path / "grids" / "*", first]).table)
    assert len(both) == 6
    assert both.loc[both["seed"] == 30, "state"].tolist() == ["finished"]
    pd.testing.assert_frame_equal(both, collect([first, second, tmp_path]).table)


def test_copies_are_one_cell_and_other_versions_are_noted(tmp_path: Path) -> None:
    """The same cell in two output folders is one row; the same options with another torch are two, and a line."""
    make_cell(tmp_path / "one", 0.5)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert len(collect([tmp_path / "one", tmp_path / "two"]).table) == 1
    make_cell(tmp_path / "two", 0.6, versions="2")
    cells = collect_rows([tmp_path / "*"])
    assert len(cells.rows) == 2
    assert len(cells.notes) == 1
    assert cells.notes[0].startswith("1 of the cells repeat another")


@pytest.mark.parametrize(
    ("file", "content", "error"),
    [
        ("metrics.json", "{", "metrics.json is damaged (its checksum is another)"),
        ("metrics.json", None, "metrics.json is missing"),
        ("selection.json", '{"layers": 3}', "selection.json is damaged (its checksum is another)"),
        ("selection.json", None, "selection.json is missing"),
        ("identity.json", '{"labels": []}', "identity.json is damaged (its checksum is another)"),
        ("identity.json", None, "identity.json is missing"),
        ("status.json", "\x00", "status.json cannot be read"),
        ("status.json", "{}", "status.json is damaged or of a former version (it has no checksum)"),
        ("status.json", '{"state": "finished"}', "status.json is damaged or of a former version (it has no checksum)"),
        ("status.json", '{"state": "finished", "checksum": "a"}', "status.json is damaged (its checksum is another)"),
    ],
)
def test_damaged_cells_say_so(tmp_path: Path, file: str, content: str | None, error: str) -> None:
    """In their row, in one line; the others are read."""
    make_cell(tmp_path, 0.5, seed=0)
    damaged = make_cell(tmp_path, 0.6, seed=1) / file
    damaged.unlink() if content is None else damaged.write_text(content)
    table = collect([tmp_path]).table.set_index("state")
    assert len(table) == 2
    assert table.loc["finished", "awss@95"] == 0.5
    assert error in str(table.loc["damaged", "error"])
    assert "\n" not in str(table.loc["damaged", "error"])
    assert pd.isna(table.loc["damaged", "awss@95"])


def test_damaged_records_of_jobs(tmp_path: Path) -> None:
    """A job's file that cannot be read, and a cell that was removed."""
    cell = make_cell(tmp_path, seed=0)
    gone = {"state": "finished", "cell": "NSAIDS-gone"}
    died = {"state": "running", "cell": "NSAIDS-not-yet"}
    jobs = [({"state": "finished", "cell": cell.name}), gone, died, {"state": "failed"}]
    grid = make_grid(tmp_path, "g", [([f"seed={seed}"], job) for seed, job in enumerate(jobs)])
    (grid / "jobs" / "3.json").write_text("")
    table = collect([grid]).table
    assert table["state"].tolist() == ["finished", "missing", "running", "damaged"]
    assert table["seed"].tolist() == [0, 1, 2, 3]
    assert table["error"].tolist()[1] == "it had finished, but its folder is gone"
    (grid / "grid.json").write_text('{"jobs": [{}]}')
    with pytest.raises(UserError, match=r"^folder: .*grid\.json is damaged .*; collect its output folder instead"):
        collect([grid])


def test_paths_without_a_cell_are_refused(tmp_path: Path) -> None:
    """In one line; what stands beside cells is noted."""
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "nowhere", tmp_path / "nothing-*", tmp_path / "grids"):
        with pytest.raises(UserError, match=r"^folder: expected [^\n]*$"):
            collect([path])
    make_cell(tmp_path)
    assert collect_rows([tmp_path]).notes == [f"{tmp_path / 'empty'}: holds no cell; left out"]
    assert len(collect([str(tmp_path / "*")]).table) == 1
    assert len(collect([next(tmp_path.glob("NSAIDS*"))]).table) == 1


def test_brackets_in_a_folder_are_no_pattern(tmp_path: Path) -> None:
    """A folder of that very name comes first."""
    make_cell(tmp_path / "runs [1]")
    assert len(collect([tmp_path / "runs [1]"]).table) == 1
