"""A run folder says whether it can be trusted, and who works on it."""

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from layersel.errors import DamagedError, UserError
from layersel.files import write_json, write_sealed, write_text
from layersel.runs.folder import Attempt, RunBusyError, RunFailedError, RunFolder, check_writable, finished_runs
from layersel.runs.holder import STALE, Holder


@contextmanager
def attempt(folder: RunFolder, config: dict[str, Any] | None = None, **how: bool) -> Iterator[Attempt]:
    """A try at the folder's run."""
    taken = folder.take(**how)
    assert taken is not None
    with folder.recording(taken, {"identity": "a1"}, config or {}):
        yield taken


def fail(folder: RunFolder, error: type[BaseException] = ValueError) -> None:
    """A try that ends with an error."""
    with pytest.raises(error), attempt(folder):
        raise error("out of luck")


def test_a_finished_run(tmp_path: Path) -> None:
    """Running inside of the block, finished after it, its config readable; it is not taken again unless by force."""
    folder = RunFolder(tmp_path)
    assert folder.state is None
    with attempt(folder, {"seed": 3, "adapter": {"projections": ["query"]}}):
        assert folder.state == "running"
        with pytest.raises(UserError, match="is running, not finished; run its training again"):
            folder.read_config()
    assert folder.state == "finished"
    assert folder.read_config() == {"seed": 3, "adapter": {"projections": ["query"]}}
    assert folder.read_identity() == {"identity": "a1"}
    assert folder.take() is None
    assert folder.take(force=True) is not None


@pytest.mark.parametrize(
    ("kind", "state"), [(ValueError, "failed"), (SystemExit, "failed"), (KeyboardInterrupt, "interrupted")]
)
def test_a_failed_run(kind: type[BaseException], state: str, tmp_path: Path) -> None:
    """The status has the error and the traceback, and the error goes on."""
    folder = RunFolder(tmp_path)
    fail(folder, kind)
    status = json.loads(folder.status.read_text())
    assert status["state"] == folder.state == state
    assert status["error"] == f"{kind.__name__}: out of luck"
    assert "in attempt" in status["traceback"]
    assert status["updated"] >= status["started"]
    with pytest.raises(UserError, match=f"is {state}, not finished"):
        folder.read_config()


def test_an_interruption_that_a_library_turns_into_an_error(tmp_path: Path) -> None:
    """The run is interrupted, not failed, and its caller sees an interruption."""

    def tear_down() -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("half torn down")

    folder = RunFolder(tmp_path)
    with pytest.raises(KeyboardInterrupt), attempt(folder):
        tear_down()
    assert folder.state == "interrupted"


def test_a_failed_run_is_taken_again_on_request(tmp_path: Path) -> None:
    """Without it, its error is told; an interrupted one always is."""
    folder = RunFolder(tmp_path)
    fail(folder)
    with pytest.raises(
        RunFailedError, match=r"has failed before \(ValueError: out of luck\); retry=true runs it again"
    ):
        folder.take(retry=False)
    fail(folder, KeyboardInterrupt)
    with attempt(folder, retry=False) as taken:
        assert (taken.number, taken.resumes) == (3, False)


def test_an_interrupted_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    """Which is there until it has finished; neither a failed run nor a forced one goes on."""
    folder = RunFolder(tmp_path)
    for error, how, resumes in (
        (KeyboardInterrupt, {}, True),
        (KeyboardInterrupt, {"force": True}, False),
        (ValueError, {}, False),
    ):
        fail(folder, error)
        write_text(folder.checkpoint, "step 7")
        with attempt(folder, **how) as taken:
            assert taken.resumes == folder.checkpoint.exists() == resumes
        assert not folder.checkpoints.exists()
        write_sealed(folder.status, {"state": "failed", "attempt": 1, "error": ""})


def test_a_new_attempt_starts_clean(tmp_path: Path) -> None:
    """No result of an earlier attempt stands beside those of this one; the user's own files stay."""
    folder = RunFolder(tmp_path)
    own = ("path", "status", "config", "identity", "lock")
    for path in [value for name, value in vars(folder).items() if name not in own and value is not None]:
        write_text(path if path.suffix else path / "a.txt", "old")
    write_text(tmp_path / "notes.txt", "mine")
    with attempt(folder):
        names = {path.name for path in tmp_path.iterdir()}
    assert names == {"status.json", "config.yaml", "identity.json", "lock", "notes.txt"}


def test_a_new_attempt_starts_without_the_tasks_results(tmp_path: Path) -> None:
    """They go where the task names them; a file of the same kind that it does not name is the user's."""
    folder = RunFolder(tmp_path)
    for name in ("ranking.csv", "mine.csv"):
        write_text(tmp_path / name, "old")
    taken = folder.take()
    assert taken is not None
    with folder.recording(taken, {}, {}, ["ranking.csv"]):
        assert not (tmp_path / "ranking.csv").exists()
        assert (tmp_path / "mine.csv").read_text(encoding="utf-8") == "old"


def test_a_folder_is_taken_once(tmp_path: Path) -> None:
    """As long as its holder lives, nobody else gets it."""
    folder = RunFolder(tmp_path)
    with attempt(folder), pytest.raises(RunBusyError, match=f"process {os.getpid()} on .* runs this cell; wait for it"):
        folder.take(force=True)
    assert folder.state == "finished"


def test_of_many_that_come_at_once_one_takes_it(tmp_path: Path) -> None:
    """Twelve threads, and a dead holder before them."""
    folder = RunFolder(tmp_path)
    hold(folder, pid=dead_pid())
    assert folder.state == "interrupted"
    with ThreadPoolExecutor(12) as pool:
        takings = [pool.submit(RunFolder(tmp_path).take) for _ in range(12)]
        errors = [taking.exception() for taking in takings]
    assert sorted(type(error).__name__ for error in errors) == ["NoneType"] + ["RunBusyError"] * 11


@pytest.mark.parametrize(
    ("changes", "silence", "state"),
    [
        ({}, 1000, "running"),  # suspended, say: it lives
        ({"born": 5.0}, 1000, "interrupted"),  # the number was given to another process
        ({"born": 5.0}, 0, "running"),  # the clock was set
        ({"host": "elsewhere"}, 0, "running"),
        ({"host": "elsewhere"}, STALE - 5, "running"),
        ({"host": "elsewhere"}, STALE + 5, "interrupted"),
        ({"namespace": "pid:[1]"}, STALE + 5, "interrupted"),  # another container of this machine
    ],
)
def test_whether_a_holder_lives(changes: dict[str, Any], silence: float, state: str, tmp_path: Path) -> None:
    """By its process here, by its heartbeat elsewhere."""
    folder = RunFolder(tmp_path)
    hold(folder, **changes)
    os.utime(folder.status, (time.time() - silence,) * 2)
    assert folder.state == state


def test_a_holder_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The status file is touched as long as the attempt lasts, and not after it."""
    monkeypatch.setattr("layersel.runs.holder.BEAT", 0.02)
    folder = RunFolder(tmp_path)
    with attempt(folder):
        os.utime(folder.status, (5, 5))
        until = time.monotonic() + 20
        while folder.status.stat().st_mtime == 5:
            assert time.monotonic() < until
            time.sleep(0.02)
    os.utime(folder.status, (5, 5))
    time.sleep(0.1)
    assert folder.status.stat().st_mtime == 5


def test_a_holder_that_was_thought_dead_does_not_finish(tmp_path: Path) -> None:
    """Another one has the folder; its record stays."""
    folder = RunFolder(tmp_path)
    with pytest.raises(RuntimeError, match="was taken by another process"), attempt(folder):
        hold(folder, mark="another")
    assert folder.state == "running"


def hold(folder: RunFolder, **changes: Any) -> None:
    """Write that the run is held by this process, but for the changes."""
    write_text(folder.lock, "")
    write_sealed(
        folder.status, {"state": "running", "attempt": 1, "started": 0.0, "holder": asdict(Holder.here()) | changes}
    )


def dead_pid() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def finished(tmp_path: Path) -> RunFolder:
    """A finished run with one file of each kind."""
    folder = RunFolder(tmp_path)
    with attempt(folder, {"seed": 3}):
        for file in (folder.metrics, folder.selection, folder.merging, folder.compression):
            write_json(file, {"adapters": {"a": "b"}, "steps": ["train"]})
        write_json(folder.training_records, [{"text": "a1"}])
        write_text(folder.adapter / "weights" / "a.bin", "abc")
        write_text(folder.path / "notes.txt", "mine")
    return folder


READERS: dict[str, Callable[[RunFolder], object]] = {
    "config.yaml": RunFolder.read_config,
    "identity.json": RunFolder.read_identity,
    "metrics.json": RunFolder.read_metrics,
    "selection.json": RunFolder.read_selection,
    "training_records.json": RunFolder.read_learnt,
    "merging.json": RunFolder.read_merged,
    "compression.json": RunFolder.read_steps,
    "adapter/weights/a.bin": lambda folder: folder.checked(folder.adapter),
}


@pytest.mark.parametrize("name", READERS)
def test_what_is_read_is_as_it_was_written(name: str, finished: RunFolder) -> None:
    """Another byte anywhere, or no file, is refused in one line that says what to do; the other files are readable."""
    file = finished.path / name
    whole = file.read_bytes()
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(
            DamagedError, match=r"^'[^\n]* is damaged \(its checksum[^\n]*; delete the folder .* and run"
        ):
            READERS[name](finished)
    file.unlink()
    with pytest.raises(DamagedError, match=f"{file.name}' is missing; delete the folder"):
        READERS[name](finished)
    for other, read in READERS.items():
        assert other == name or read(finished)
    with attempt(finished, force=True):
        pass
    assert finished.state == "finished"


def test_damaged_runs_are_left_out_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whichever of the files that are asked for it is; those that have not finished are no runs to speak of."""
    names = ("whole", "status.json", "identity.json", "metrics.json", "failed")
    for name in names[:-1]:
        with attempt(folder := RunFolder(tmp_path / name)):
            write_json(folder.metrics, {"auroc": 1})
        if name != "whole":
            (folder.path / name).write_text("{")
    fail(RunFolder(tmp_path / "failed"))
    for _ in range(2):
        found = [(folder.path.name, *rest) for folder, *rest in finished_runs(tmp_path / name for name in names)]
        assert found == [("whole", {"identity": "a1"}, {"auroc": 1})]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("'")[1] for line in lines] == [str(tmp_path / name / name) for name in names[1:-1]]
    assert all(line.startswith("left out: ") and "; delete the folder " in line for line in lines)


def test_what_a_run_holds_is_what_it_wrote(finished: RunFolder) -> None:
    """A file that is gone is still the run's, and one that came later is not."""
    finished.merging.unlink()
    write_text(finished.model / "a.bin", "")
    assert finished.holds(finished.merging)
    assert finished.holds(finished.adapter)
    assert not finished.holds(finished.model)
    with pytest.raises(DamagedError, match="is missing"):
        finished.checked(finished.model)


@pytest.mark.parametrize("damage", ["a value", "its checksum", "all of it"])
def test_a_damaged_status_is_refused_unless_by_force(damage: str, finished: RunFolder) -> None:
    """It says whether a run has finished and seals its files; without its own checksum nothing is known."""
    status = json.loads(finished.status.read_text())
    changed = {
        "a value": status | {"state": "failed"},
        "its checksum": {name: value for name, value in status.items() if name != "checksum"},
    }
    finished.status.write_text(json.dumps(changed[damage]) if damage in changed else "")
    for ask in (lambda: finished.state, finished.take, finished.read_config, finished.read_metrics):
        with pytest.raises(DamagedError, match=r"status\.json' .*; delete the folder"):
            ask()
    taken = finished.take(force=True)
    assert taken is not None
    assert (taken.number, taken.resumes) == (1, False)


def test_a_full_disk_leaves_the_error_that_it_has_caused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not even the status can be written, the run counts as interrupted once its process has ended."""
    folder = RunFolder(tmp_path)
    taken = folder.take()
    assert taken is not None

    def no_space(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def work() -> None:
        with folder.recording(taken, {}, {}):
            monkeypatch.setattr("layersel.files.os.fsync", no_space)
            write_text(tmp_path / "a.txt", "a")

    with pytest.raises(OSError, match="No space"):
        work()
    assert folder.state == "running"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "identity.json", "lock", "status.json"]


def test_writable(tmp_path: Path) -> None:
    """A folder is made; below a file none can be."""
    assert check_writable(tmp_path / "a" / "b") is None
    assert list((tmp_path / "a" / "b").iterdir()) == []
    write_text(tmp_path / "file", "")
    assert str(check_writable(tmp_path / "file" / "runs", "out")).startswith("out: cannot write to ")
