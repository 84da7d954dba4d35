"""Damaged files: every file of a scene, each in every way, and what a command makes of it."""

import io
import json
import re
import shutil
import traceback
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
from in_process import here

from layersel.files import remove
from layersel.sweep.__main__ import main as sweep
from layersel.sweep.job import do_job
from layersel.sweep.local import Pool

Numbers = dict[str, Any]
REFUSED, AGAIN, UNTOUCHED = "refused", "computed again", "untouched"
NO_DISK = Path("/proc/self/mem")
"""Reading it fails with an input/output error, for root too."""


def _change(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda file: bytes_written(file, change(file.read_bytes()))


def bytes_written(file: Path, content: bytes) -> None:
    """Writes bytes."""
    file.write_bytes(content)


def _flipped(content: bytes) -> bytes:
    """Returns the content with one bit of one byte turned, at a place that the content decides."""
    place = sum(content) % len(content) if content else 0
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :] if content else b"\n"


def _folder(file: Path) -> None:
    remove(file)
    (file / "inside").mkdir(parents=True)


def _unreadable(file: Path) -> None:
    remove(file)
    file.symlink_to(NO_DISK if NO_DISK.exists() else file.name)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "empty": _change(lambda content: b""),
    "truncated": _change(lambda content: content[: len(content) // 2]),
    "flipped": _change(_flipped),
    "other JSON": _change(lambda content: b"[1]"),
    "a folder": _folder,
    "missing": remove,
    "unreadable": _unreadable,
}
OF_FOLDERS = ("missing", "a file")


def damage(path: Path, how: str) -> None:
    """Damages a file, or a folder."""
    if how == "a file":
        remove(path)
        path.write_text("")
    else:
        DAMAGES[how](path)


@dataclass(frozen=True)
class Action:
    """Something that a user does with what a scene left.

    Attributes:
        call: Does it; returns the exit status.
        numbers: Reads the numbers that it has come to.
    """

    call: Callable[[], int]
    numbers: Callable[[], Numbers]


@dataclass
class Scene:
    """A folder that commands have filled, and that is as it was before each of the actions on it.

    Attributes:
        folder: Where it is.
        actions: By name.
        damaged: Globs of the files and folders in it that are to be damaged.
    """

    folder: Path
    actions: dict[str, Action]
    damaged: tuple[str, ...] = ("**/*",)
    _whole: dict[str, Numbers] = field(default_factory=dict)

    def keep(self) -> None:
        """Notes what there is, and what each action comes to if nothing is damaged."""
        shutil.copytree(self.folder, self._kept, symlinks=True)
        for name, action in self.actions.items():
            self._restore()
            ended = _ended(action)
            assert ended.status == 0, f"{name}: {ended}"
            self._whole[name] = action.numbers()
        self._restore()

    def cases(self) -> Iterator[tuple[str, str, str]]:
        """Gives every file and folder, with every damage and every action."""
        paths = sorted({path for glob in self.damaged for path in self._kept.glob(glob)})
        for path in paths:
            for how in OF_FOLDERS if path.is_dir() else DAMAGES:
                for action in self.actions:
                    yield path.relative_to(self._kept).as_posix(), how, action

    def outcome(self, path: str, how: str, action: str) -> str:
        """Returns what becomes of an action after a damage; asserts that it is one of what is allowed."""
        self._restore()
        target, own = self.folder / path, self.actions[action]
        damage(target, how)
        before = _look(target)
        ended = _ended(own)
        what = f"{path} ({how}), then {action}: {ended}"
        assert "Traceback" not in ended.printed, what
        untouched = _look(target) == before
        ours = {str(target)} if untouched else set()  # what we did to it ourselves is no change of a number
        found, whole = (
            {name: own for name, own in numbers.items() if name not in ours}
            for numbers in (own.numbers(), self._whole[action])
        )
        if ended.status == 0:
            assert found == whole, f"changed numbers: {what}"
            return UNTOUCHED if untouched else AGAIN
        assert ended.told, f"no line that says what to do: {what}"
        assert all(line.startswith("error: ") for line in ended.errors), what
        assert all(value == whole[name] for name, value in found.items()), f"changed numbers: {what}"
        return REFUSED

    @property
    def _kept(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}-kept")

    def _restore(self) -> None:
        shutil.rmtree(self.folder)
        shutil.copytree(self._kept, self.folder, symlinks=True)


@dataclass(frozen=True)
class Ended:
    """How an action has ended."""

    status: int
    errors: list[str]
    printed: str

    @property
    def told(self) -> list[str]:
        """The lines that say what is damaged and what to do."""
        return [
            line
            for line in self.printed.splitlines()
            if re.search(r"(damaged|missing|read|write|got a|locks|no status).*; ", line)
        ]

    def __str__(self) -> str:
        return f"status {self.status}\n{self.printed[-1500:]}"


def _ended(action: Action) -> Ended:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), patch.object(Pool, "run", run_jobs_here):
        try:
            status = action.call()
        except Exception:
            traceback.print_exc()
            status = 1
    errors = [line for line in err.getvalue().splitlines() if line.strip()]
    return Ended(status, errors, out.getvalue() + err.getvalue())


def run_jobs_here(pool: Pool, jobs: dict[Any, Any]) -> None:
    """Runs the jobs of a grid in this process."""
    for job, config in jobs.items():
        outcome = do_job(pool.grid, job, config, pool.context, wait=True)
        assert outcome is not None
        pool.report(outcome)


def _look(path: Path) -> object:
    """Returns what tells whether a path was written to."""
    if path.is_symlink():
        return path.readlink()
    return path.read_bytes() if path.is_file() else sorted(path.rglob("*")) if path.is_dir() else None


def train(*arguments: str) -> Callable[[], int]:
    """Returns the call of `train.py`."""
    return lambda: here("train.py", *arguments)


def evaluate(*arguments: str) -> Callable[[], int]:
    """Returns the call of `evaluate.py`."""
    return lambda: here("evaluate.py", *arguments)


def collect(*arguments: str) -> Callable[[], int]:
    """Returns the call of `python -m layersel.sweep`, which names damaged cells in its table."""
    return lambda: sweep(list(arguments))


def results(*runs: Path) -> Callable[[], Numbers]:
    """Returns a reader of the results of runs that are readable."""

    def read() -> Numbers:
        found: Numbers = {}
        for run in runs:
            for file in (run / "metrics.json", run / "curves.json", run / "selection.json", run / "ranking.csv"):
                found[str(file)] = _content(file)
        return {name: value for name, value in found.items() if value is not None}

    return read


def table(file: Path) -> Callable[[], Numbers]:
    """Returns a reader of the finished cells in a grid's table."""

    def read() -> Numbers:
        if not file.is_file():
            return {}
        cells = pd.read_csv(file)
        cells = cells[cells["state"] == "finished"]
        own = [name for name in cells if not name.startswith("seconds/") and name not in ("error", "overrides")]
        return {row["cell"]: json.loads(row.to_json()) for _, row in cells[own].iterrows()}

    return read


def content(file: Path) -> Callable[[], Numbers]:
    """Returns a reader of one file that an action writes."""
    return lambda: {} if (found := _content(file)) is None else {str(file): found}


def _content(file: Path) -> Any:
    try:
        text = file.read_text(encoding="utf-8")
        found = json.loads(text) if file.suffix == ".json" else text
    except (OSError, ValueError):
        return None
    return (
        {name: value for name, value in found.items() if not name.startswith("seconds/")}
        if isinstance(found, dict)
        else found
    )
