"""Archives of cells: they say what the folders said, and are refused where they are damaged."""

import re
import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from cell_folders import make_cell, make_grid, seal

from layersel.files import read_sealed, write_sealed
from layersel.runs.holder import Holder
from layersel.sweep.__main__ import main
from layersel.sweep.archive import read_archive, write_archive
from layersel.sweep.evidence.__main__ import main as evidence
from layersel.sweep.reading import Row
from layersel.sweep.rows import collect_rows

CURVES = {"gain": {"title": "t", "x_title": "x", "y_title": "y", "x": [0.0, 1.0], "y": {"adapted": [0.0, 1.0]}}}

COMMANDS = [f"python train.py -m rank={rank} model.path=FOLDER/m" for rank in (4, 8)]


def grid(output: Path, name: str, rank: int) -> Path:
    """A grid of two measured cells, one without an adapter, one that failed and one that never began."""
    stability = {"chosen_share": [0.5] * 6, "rank_correlation": 0.9}
    cells = [
        make_cell(output, 0.5 + seed / 7, seed=seed, rank=rank, scores=[0.1, None, 0.3, 0.2, 0.5, 0.4],
                  stability=stability, curves=CURVES, options={"task.rate": 1e-3, "flag": seed == 1})
        for seed in (0, 1)
    ]  # fmt: skip
    cells += [make_cell(output, None, selection="none", n=None, rank=rank)]
    cells += [make_cell(output, state="failed", error="no", seed=7, rank=rank)]
    typed = [f"rank={rank}", f"output={output}"]
    jobs: list[Any] = [(typed, {"state": "finished", "cell": cell.name}) for cell in cells]
    jobs += [(["seed=9", f"rank={rank}"], None)]
    made = make_grid(output, name, jobs)
    record = read_sealed(made / "grid.json") | {"overrides": [*typed, f"model.path={output}/m"]}
    write_sealed(made / "grid.json", record)
    return made


def test_an_archive_says_what_its_grids_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows but for their curves, the tables and a page of evidence are the same, without a folder of the machine."""
    one, two = grid(tmp_path / "runs", "one", 4), grid(tmp_path / "runs", "two", 8)
    file = tmp_path / "kept.json"
    assert main([str(one), str(two), "--out", str(tmp_path / "of_folders"), "--archive", str(file)]) == 1
    assert str(tmp_path) not in file.read_text(encoding="utf-8")
    rows, again = collect_rows([one, two]).rows, collect_rows([file]).rows
    assert [replace(row, curves={}, overrides=None) for row in rows] == [replace(row, overrides=None) for row in again]
    assert any(row.curves for row in rows)
    assert main([str(file), "--out", str(tmp_path / "of_archive")]) == 1
    for name in ("groups.csv", "comparisons.csv", "chosen_layers.csv"):
        assert (tmp_path / "of_archive" / name).read_bytes() == (tmp_path / "of_folders" / name).read_bytes()
    pages = []
    for name, grids in {"folders": [one, two], "archive": [file]}.items():
        outline = tmp_path / f"{name}.yaml"
        outline.write_text(f"questions: [{{question: Q, grids: {[str(own) for own in grids]}}}]", encoding="utf-8")
        assert evidence([str(outline)]) == 0
        pages.append(outline.with_suffix(".md").read_text(encoding="utf-8"))
    assert pages[0] == pages[1]
    assert "\n".join(["", *COMMANDS, ""]) in pages[1]
    capsys.readouterr()


def test_an_archive_of_archives_keeps_their_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Cells that are in several are in it once."""
    one, two = grid(tmp_path / "runs", "one", 4), grid(tmp_path / "runs", "two", 8)
    files = [tmp_path / f"{number}.json" for number in range(3)]
    main([str(one), "--archive", str(files[0])])
    main([str(one), str(two), "--out", str(tmp_path / "out"), "--archive", str(files[1])])
    main([str(files[0]), str(files[1]), "--out", str(tmp_path / "out"), "--archive", str(files[2])])
    assert files[2].read_bytes() == files[1].read_bytes()
    assert read_archive(files[2]).commands == COMMANDS
    capsys.readouterr()


def test_a_pattern_leads_to_grids_and_archives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The commands of all that match are kept; files of other kinds hold no cell."""
    grid(tmp_path / "runs", "one", 4)
    grid(tmp_path / "runs", "two", 8)
    kept = tmp_path / "kept.json"
    main([str(tmp_path / "runs" / "grids" / "*"), "--out", str(tmp_path / "out"), "--archive", str(kept)])
    assert read_archive(kept).commands == COMMANDS
    capsys.readouterr()
    for name, content in (("summary.json", "{}"), ("broken.json", "{"), ("notes.txt", "")):
        (tmp_path / name).write_text(content, encoding="utf-8")
    found = collect_rows([tmp_path / "*"])
    assert found.commands == COMMANDS
    assert sum(note.endswith(": holds no cell; left out") for note in found.notes) >= 3


def test_a_dead_cell_is_archived_as_it_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A cell whose status says running, but that no process holds, is interrupted."""
    holder = asdict(Holder.here()) | {"pid": 2**22 + 1}
    seal(make_cell(tmp_path / "runs", state="running"), "running", holder=holder)
    main([str(tmp_path / "runs"), "--archive", str(tmp_path / "kept.json")])
    assert [row.state for row in collect_rows([tmp_path / "kept.json"]).rows] == ["interrupted"]
    capsys.readouterr()


def test_options_of_several_types_stay_apart(tmp_path: Path) -> None:
    """1 is not true; what all have stands once, sorted, so that the same cells give the same file."""
    rows = [
        Row(str(number), "finished", options={"b": 2, "a": value, "c": "x"}) for number, value in enumerate((1, True))
    ]
    write_archive(tmp_path / "kept.json", rows, [])
    assert list(read_sealed(tmp_path / "kept.json")["options"].items()) == [("b", 2), ("c", "x")]
    assert [type(row.options["a"]) for row in collect_rows([tmp_path / "kept.json"]).rows] == [int, bool]


@pytest.mark.parametrize("path", ["/home/u/x.csv", "'/home/my reviews/x.csv'", "[/home/u/x.csv,/home/v/x.csv]"])
def test_paths_stand_without_their_folders(path: str, tmp_path: Path) -> None:
    """A path is kept as the name of its file, also a quoted one with spaces."""
    row = Row("a", "failed", overrides=shlex.join([f"data.path={path}", "seed=1"]))
    write_archive(tmp_path / "kept.json", [row], [])
    text = (tmp_path / "kept.json").read_text(encoding="utf-8")
    assert "home" not in text
    assert "x.csv" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["DAMAGED", "--out", "OUT"], r"folder: expected an archive in '.*d.json', but d.json is damaged"),
        (["NEWER", "--out", "OUT"], r"folder: '.*n.json' is an archive of another version \(.*taste.*\); "),
        (["OTHER", "--out", "OUT"], r"folder: expected an archive of cells, but '.*o.json' is another file"),
        (["KEPT"], r"--out: expected a folder for the tables of a file, but got none; give --out FOLDER"),
        (["GRID", "--archive", "kept.csv"], r"--archive: expected a file that ends in .json, but got 'kept.csv'"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    """A file that is no whole archive is refused in one line, before anything is written."""
    made, kept = grid(tmp_path / "runs", "g", 4), tmp_path / "kept.json"
    main([str(made), "--out", str(tmp_path / "first"), "--archive", str(kept)])
    capsys.readouterr()
    (tmp_path / "d.json").write_text(kept.read_text(encoding="utf-8").replace("0.5", "0.6", 1), encoding="utf-8")
    write_sealed(tmp_path / "o.json", {"a": 1})
    write_sealed(tmp_path / "n.json", {"commands": [], "options": {}, "cells": [{"state": "failed", "taste": 1}]})
    places = {
        "GRID": made,
        "KEPT": kept,
        "OUT": tmp_path / "out",
        "DAMAGED": tmp_path / "d.json",
        "OTHER": tmp_path / "o.json",
        "NEWER": tmp_path / "n.json",
    }
    assert main([str(places.get(part, part)) for part in arguments]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert re.match(f"error: {message}", printed.err)
    assert not (tmp_path / "out").exists()
    assert not (made / "cells.csv").exists()
