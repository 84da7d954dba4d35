"""A full disk costs the cell that meets it, and nothing else: one line, nothing half-written, the same results later.

The system refuses files beyond a size, as it refuses those for which a disk has no room.
"""

import io
import json
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import pytest
from damages import run_jobs_here
from in_process import cells, here
from small_reviews import write_reviews

from layersel.cell.training_cell import TrainingCell
from layersel.errors import no_room
from layersel.runs.folder import RunFolder
from layersel.sweep.local import Pool

LINE = r"error: output: cannot write.* \(File too large\); make room, or name another folder with output=…\n"


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Within the block no file grows beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def command(small_cell: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A training of a second that writes checkpoints."""
    (review,) = write_reviews(tmp_path_factory.mktemp("review"), 1)
    return [*small_cell, f"data.path={review}", "trainer.checkpoint_seconds=0"]


def measured(output: Path) -> list[dict[str, float]]:
    """The metrics of the finished cells, but for times."""
    found = [json.loads((run / "metrics.json").read_text()) for run in cells(output)]
    return [{name: value for name, value in own.items() if not name.startswith("seconds/")} for own in found]


@pytest.fixture(scope="module")
def with_room(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, float]]:
    """What the training measures where nothing is short."""
    output = tmp_path_factory.mktemp("runs")
    assert here("train.py", *command, f"output={output}") == 0
    return measured(output)


@pytest.mark.parametrize("size", [0, 1_000, 3_000, 9_000, 15_000, 25_000])
def test_a_cell_that_finds_no_room(
    size: int, command: list[str], with_room: list[dict[str, float]], tmp_path: Path
) -> None:
    """Wherever it strikes, from the status to the figures; once there is room, the cell runs as any other."""
    errors = io.StringIO()  # pytest's own capture is a file
    with room_for(size), redirect_stdout(io.StringIO()), redirect_stderr(errors):
        status = here("train.py", *command, f"output={tmp_path / 'runs'}")
    assert (status, re.fullmatch(LINE, errors.getvalue()) is not None) == (2, True), errors.getvalue()
    assert [file for file in tmp_path.rglob(".*") if file.is_file()] == []
    assert all(RunFolder(run).state == "failed" for run in cells(tmp_path / "runs"))
    assert here("train.py", *command, f"output={tmp_path / 'runs'}") == 0
    assert measured(tmp_path / "runs") == with_room


@pytest.mark.real
def test_a_cell_of_a_grid_that_finds_no_room(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It fails with a line, the others finish, and retry=true runs it."""
    write = TrainingCell.write

    def crowded(cell: TrainingCell, *arguments: object) -> object:
        with room_for(500 if cell.cell.seed == 1 else 10**9):
            return write(cell, *arguments)  # type: ignore[arg-type]

    grid = ["-m", *command, "seed=0,1,2", "grid=g", f"output={tmp_path / 'runs'}"]
    with patch.object(Pool, "run", run_jobs_here):
        with patch.object(TrainingCell, "write", crowded):
            assert here("train.py", *grid) == 2
        printed = capsys.readouterr()
        assert "3 cells: 2 finished now, 1 failed" in printed.out
        assert "Traceback" not in printed.err
        assert here("train.py", *grid, "retry=true") == 0
        assert "3 cells: 2 had finished before, 1 finished now" in capsys.readouterr().out


def test_what_is_no_want_of_room() -> None:
    """Neither another error of the system nor one that only speaks of it."""
    for error in (OSError(13, "Permission denied"), ValueError("No space left on device"), OSError("os error 28")):
        assert no_room(error) is None
