"""`python train.py -m …` as its users know it: it is killed, cells go wrong, two are started at once."""

import json
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from grids import ROOT, SMALL, finish, start, states, table
from sealing import edit

from layersel.files import read_sealed, write_sealed


@pytest.fixture(scope="module")
def base(tiny_model_folder: Path) -> list[str]:
    """What all grids here have in common."""
    return ["-m", *SMALL, f"model.path={tiny_model_folder}"]


def finished_at(output: Path) -> dict[str, float]:
    """When each cell that has finished did."""
    found = {}
    for file in output.glob("*/status.json"):
        status = json.loads(file.read_text())
        if status["state"] == "finished":
            found[file.parent.name] = status["updated"]
    return found


def kill_and_restart(arguments: list[str], output: Path, kills: int, processes: int, seed: int) -> None:
    """Start the grid, SIGKILL it at a random moment, so many times; then let it end.

    Whatever had finished once must stay as it is.
    """
    generator, done = random.Random(seed), {}
    for _ in range(kills):
        running = [start(*arguments) for _ in range(processes)]
        before, until = len(finished_at(output)), time.monotonic() + 60
        while len(finished_at(output)) == before and time.monotonic() < until and running[0].poll() is None:
            if generator.random() < 0.02:
                break
            time.sleep(0.2)
        time.sleep(generator.random())
        for process in running:
            process.kill()
            process.communicate()
        now = finished_at(output)
        assert now.items() >= done.items()
        done = now
    running = [start(*arguments) for _ in range(processes)]
    for process in running:
        status, _, errors = finish(process)
        assert status == 0, errors
    assert finished_at(output).items() >= done.items()


@pytest.mark.real
def test_a_killed_grid_ends_as_if_it_had_not_been(base: list[str], tmp_path: Path) -> None:
    """The same table, and no cell that had finished is computed again, with two processes on one folder."""
    axes = ["selection.n=1,2", "seed=0,1"]
    status, _, errors = finish(start(*base, *axes, f"output={tmp_path / 'whole'}"))
    assert status == 0, errors
    kill_and_restart([*base, *axes, f"output={tmp_path / 'killed'}"], tmp_path / "killed", 2, processes=2, seed=1)
    pd.testing.assert_frame_equal(table(tmp_path / "killed"), table(tmp_path / "whole"))


@pytest.mark.real
@pytest.mark.parametrize("processes", [1, 2])
def test_a_grid_that_is_killed_twenty_times(processes: int, base: list[str], tmp_path: Path) -> None:
    """24 cells; the same table as without."""
    axes = ["selection.n=1,2,3", "adapter.rank=2,4", "seed=0,1,2,3"]
    status, _, errors = finish(start(*base, *axes, f"output={tmp_path / 'whole'}"), 1200)
    assert status == 0, errors
    kill_and_restart([*base, *axes, f"output={tmp_path / 'killed'}"], tmp_path / "killed", 20, processes, seed=3)
    pd.testing.assert_frame_equal(table(tmp_path / "killed"), table(tmp_path / "whole"))
    assert len(table(tmp_path / "killed")) == 24


DEEDS = {
    "none": ("finished", None),
    "raise": ("failed", "ZeroDivisionError: a cell's own bug"),
    "kill": ("interrupted", "SIGKILL"),
    "exit": ("failed", "SystemExit: 3"),
    "memory": ("failed", "memory"),
    "interrupt": ("interrupted", None),
}
"""How a cell ends that does a deed of `evil`, and what its record says of it."""


@pytest.mark.parametrize(
    "deeds", [["raise", "kill", "none"], pytest.param([*DEEDS], marks=pytest.mark.real)], ids=["three", "all"]
)
def test_whatever_a_cell_does_the_others_finish(deeds: list[str], base: list[str], tmp_path: Path) -> None:
    """The other cells finish where one raises, exits, runs out of memory, is interrupted, or kills its process."""
    grid = [*base, "data._target_=evil.Evil", f"output={tmp_path}"]
    status, output, errors = finish(start(*grid, f"+data.deed={','.join(deeds)}", "grid=deeds"))
    assert status == 2
    found = {re.search(r"deed=(\w+)", job)[1]: record for job, record in states(tmp_path).items()}  # type: ignore[index]
    assert {deed: record["state"] for deed, record in found.items()} == {deed: DEEDS[deed][0] for deed in deeds}
    for deed, record in found.items():
        assert (DEEDS[deed][1] or "").lower() in (record.get("error") or "").lower()
    counts = Counter(DEEDS[deed][0] for deed in deeds)
    ended = f"1 finished now, {counts['failed']} failed, {counts['interrupted']} interrupted"
    assert f"{len(deeds)} cells: {ended}" in output
    told = [line for line in output.splitlines() if line.endswith("deed=interrupt: interrupted")]
    assert len(told) == deeds.count("interrupt")
    assert "a cell's own bug" in errors


@pytest.mark.real
def test_failed_cells_wait_for_retry_and_interrupted_ones_do_not(base: list[str], tmp_path: Path) -> None:
    """A second call says what failed, without running it; with retry=true it runs; finished ones never do."""
    grid = [*base, "task.warmup=0", "task.learning_rate=1e30,1e-4", f"output={tmp_path}"]
    status, output, errors = finish(start(*grid))
    assert status == 2
    assert "2 cells: 1 finished now, 1 failed" in output
    assert len(re.findall("the loss is nan", errors)) == 1
    for more, attempts in (([], 1), (["retry=true"], 2)):
        status, output, errors = finish(start(*grid, *more))
        assert status == 2
        assert "2 cells: 1 had finished before, 1 failed" in output
        assert ("has failed before (training: the loss is nan" in errors) == (not more)
        known = [json.loads(file.read_text()) for file in tmp_path.glob("*/status.json")]
        assert {status["state"]: status["attempt"] for status in known} == {"failed": attempts, "finished": 1}


@pytest.mark.real
def test_a_grid_of_finished_cells_loads_nothing(base: list[str], tmp_path: Path) -> None:
    """It says the same again, its files stay, and no library is imported that only the work needs."""
    grid = [*base, "task.max_steps=1", "seed=0,1", f"output={tmp_path}"]
    status, output, errors = finish(start(*grid))
    assert (status, errors) == (0, "")
    (folder,) = (file.parent for file in tmp_path.glob("grids/*/grid.json"))
    files = {file.name: file.stat().st_mtime_ns for file in folder.iterdir() if file.suffix in (".csv", ".html")}
    command = [sys.executable, "-X", "importtime", "train.py", *grid]
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in again.stderr.splitlines()}
    assert imported & {"torch", "numpy", "pandas", "scipy", "pyarrow", "lightning", "transformers", "peft"} == set()
    assert "2 cells: 2 had finished before" in again.stdout
    assert again.stdout.partition("2 finished\n")[2] == output.partition("2 finished\n")[2]
    assert {name: (folder / name).stat().st_mtime_ns for name in files} == files
    pretend_other_code(tmp_path)
    status, output, errors = finish(start(*grid, "other_code=accept"))
    assert (status, errors, "2 cells: 2 had finished before" in output) == (0, "", True)
    status, output, errors = finish(start(*grid))
    assert (status, errors, "2 cells: 2 finished now" in output) == (0, "", True)
    assert "other code computed 2 finished cells (layersel.selection.measures.similarity differ): run again" in output


def pretend_other_code(output: Path) -> None:
    """Make the finished cells, and the grid's record of them, those of another `similarity.py`."""
    for file in list(output.glob("*/identity.json")):
        edit(file, lambda identity: identity["code"].update({"layersel.selection.measures.similarity": "another"}))
        other = file.parent.with_name(f"{file.parent.name[:-8]}00000000")
        for record in output.glob("grids/*/jobs/*.json"):
            content = read_sealed(record)
            if content["cell"] == file.parent.name:
                write_sealed(record, content | {"cell": other.name})
        file.parent.rename(other)


def test_ctrl_c_ends_the_grid(base: list[str], tmp_path: Path) -> None:
    """Once is enough: the running cell is interrupted with its checkpoint, no other follows, and a line says how on."""
    grid = [*base, "task.epochs=2000", "task.max_steps=null", "seed=0,1,2", f"output={tmp_path}"]
    process = start(*grid)
    while not list(tmp_path.glob("*/checkpoints/last.ckpt")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    status, output, errors = finish(process)
    assert (status, errors) == (130, "interrupted\n")
    assert "[1/3] seed=0: interrupted\n" in output
    assert "3 cells: 1 interrupted, 2 missing\n" in output
    assert output.endswith("The same command again goes on with what was interrupted or has not begun\n")
    (known,) = [json.loads(file.read_text()) for file in tmp_path.glob("*/status.json")]
    assert known["state"] == "interrupted"
    assert len(list(tmp_path.glob("*/checkpoints/last.ckpt"))) == 1


@pytest.mark.real
def test_several_workers_give_the_same_table(base: list[str], tmp_path: Path) -> None:
    """Two cells at a time; their output goes to a file for each."""
    axes = ["selection.n=1,2", "seed=0,1"]
    for workers in (1, 2):
        launcher = f"hydra.launcher.workers={workers}"
        status, output, errors = finish(start(*base, *axes, launcher, f"output={tmp_path / str(workers)}"))
        assert (status, errors) == (0, "")
        assert ("AWSS@95 and the other metrics" in output or "284 test records" in output) == (workers == 1)
    pd.testing.assert_frame_equal(table(tmp_path / "1"), table(tmp_path / "2"))
    assert len(list(tmp_path.glob("2/grids/*/jobs/*.log"))) == 4


@pytest.mark.real
def test_two_grids_share_their_cells(base: list[str], tmp_path: Path) -> None:
    """A larger grid runs what the smaller one has not, and reports at length on that only."""
    calls = {"0,1": ("2 cells: 2 finished now", 2), "0,1,2": ("3 cells: 2 had finished before, 1 finished now", 1)}
    for seeds, (line, reports) in calls.items():
        status, output, errors = finish(start(*base, f"seed={seeds}", f"output={tmp_path}"))
        assert (status, errors) == (0, "")
        assert line in output
        assert output.count("Everything is in") == reports
        assert output.count("300 records: 43 included") == 1, "what was read is told once"
        assert "Layers by cka" not in output
