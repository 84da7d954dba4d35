"""The record of one grid: its jobs and how each of them ended."""

import hashlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import layersel
from layersel.errors import DamagedError, UserError, no_room
from layersel.files import make_folder, read_sealed, remove, write_sealed
from layersel.runs.folder import FAILED, FINISHED, INTERRUPTED, RUNNING, RunFolder
from layersel.terminal.messages import print_error
from layersel.terminal.tables import counted, note

CODE = (".py", ".js", ".css", ".html")
"""Extensions of the files that hold code."""
GRIDS = "grids"
OF_A_CALL = ("force", "retry", "other_code", "grid", "output", "shared", "logger", "hydra")
"""Options, by how their names begin, that say what is done again, and where files and logs go."""
NOT_THE_GRIDS = (*OF_A_CALL, "trainer")
"""Options, by how their names begin, in which two calls for the same grid may differ."""


@dataclass(frozen=True)
class Job:
    """One combination of a grid's axes.

    Attributes:
        num: Its place in the grid.
        overrides: All of its overrides.
        title: The overrides that the other jobs may not share.
    """

    num: int
    overrides: tuple[str, ...]
    title: str

    @classmethod
    def of(cls, num: int, overrides: Sequence[str], command_line: Sequence[str]) -> "Job":
        """Returns a job of the grid whose `command_line` has what all jobs share, and the axes.

        Example:
            >>> Job.of(0, ["model=minilm", "seed=1"], ["model=minilm", "seed=1,2"]).title
            'seed=1'
        """
        own = " ".join(text for text in overrides if text not in command_line)
        return cls(num, tuple(overrides), own or "the only cell")


@dataclass(frozen=True)
class Outcome:
    """The way in which a job ended, or that it is running.

    Attributes:
        job: The job.
        state: `finished`, `failed`, `interrupted` or `running`.
        cell: The name of the cell's folder; None where the options did not even make a cell.
        error: Why it failed, in one line.
        reused: Whether it had finished before.
        value: The metric that the cell is compared by, which a sweeper may optimise.
        title: The title of that metric.
        higher_is_better: Whether higher values of it are better.
        crashed: Whether it failed by an unforeseen error, which leaves libraries in an unknown state.
    """

    job: Job
    state: str
    cell: str | None = None
    error: str | None = None
    reused: bool = False
    value: float | None = None
    title: str | None = None
    higher_is_better: bool = True
    crashed: bool = False


class Grid:
    """A grid's folder, `OUTPUT/grids/NAME`: `grid.json` with its jobs, `jobs/NUM.json` for each that was begun."""

    def __init__(self, output: Path, name: str):
        self.output = output
        self.name = name
        self.folder = output / GRIDS / name

    def open(self, overrides: Sequence[str], jobs: Iterable[Job]) -> None:
        """Writes the list of jobs, and removes what an earlier call recorded of other jobs."""
        jobs = list(jobs)
        listed = [{"num": job.num, "overrides": list(job.overrides)} for job in jobs]
        content = {"name": self.name, "created": time.time(), "overrides": list(overrides), "jobs": listed}
        make_folder(self.folder / "jobs")  # a job that cannot be recorded must not begin
        write_sealed(self.folder / "grid.json", content)
        known = {self._file(job.num): job for job in jobs}
        for file in (self.folder / "jobs").glob("[0-9]*.json"):
            if file not in known or self._record_of(known[file]) is None:
                remove(file)

    def record(self, outcome: Outcome) -> None:
        """Writes how a job ended."""
        content = {name: value for name, value in asdict(outcome).items() if name != "job"}
        job = {"num": outcome.job.num, "overrides": list(outcome.job.overrides)}
        try:
            write_sealed(self._file(outcome.job.num), job | content)
        except OSError as error:
            if no_room(error) is None:
                raise
            print_error(UserError(f"{outcome.job.title}: {outcome.state}, but there is no room to record it"))

    def cell_of(self, job: Job) -> RunFolder | None:
        """Returns the folder in which an earlier call, or a process that has ended, ran the job."""
        record = self._record_of(job)
        return None if record is None or record["cell"] is None else RunFolder(self.output / record["cell"])

    def record_interrupted(self, job: Job, reason: str | None = None) -> Outcome:
        """Records, and returns, the outcome of a job whose process has ended without recording one."""
        folder = self.cell_of(job)
        outcome = Outcome(job, INTERRUPTED, None if folder is None else folder.path.name, reason)
        self.record(outcome)
        return outcome

    def log(self, job: Job) -> Path:
        """Returns the file for a job's output, where several jobs run at once."""
        return self.folder / "jobs" / f"{job.num}.log"

    def _file(self, num: int) -> Path:
        return self.folder / "jobs" / f"{num}.json"

    def _record_of(self, job: Job) -> dict[str, Any] | None:
        """Returns what is recorded of the job; None if there is nothing, it is of another job, or it is damaged."""
        try:
            record = read_sealed(self._file(job.num))
        except FileNotFoundError:
            return None
        except DamagedError as error:
            note(f"recorded again: {error.brief}")
            return None
        return record if _deciding(record["overrides"]) == _deciding(job.overrides) else None


def grid_name(overrides: Sequence[str], experiment: str | None) -> str:
    """Returns the name of a grid that has been given none; grids of the same axes have the same name.

    Example:
        >>> grid_name(["seed=0,1", "retry=true"], None) == grid_name(["seed=0,1"], None)
        True
    """
    digest = hashlib.sha256("\n".join(_deciding(overrides)).encode()).hexdigest()[:8]
    return f"{experiment or 'grid'}-{digest}"


def _deciding(overrides: Iterable[str]) -> list[str]:
    """Returns the overrides in which two calls for the same grid agree, sorted."""
    return sorted(text for text in overrides if not text.lstrip("+~").startswith(NOT_THE_GRIDS))


def source_fingerprint() -> str:
    """Returns a hash of the package's code, the report's page included."""
    folder = Path(layersel.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.suffix in CODE):
        digest.update(f"{file.relative_to(folder)}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def tally(outcomes: Iterable[Outcome]) -> str:
    """Returns a line that says how many jobs ended in which way."""
    outcomes = list(outcomes)
    counts = {
        "had finished before": sum(outcome.reused for outcome in outcomes),
        "finished now": sum(outcome.state == FINISHED and not outcome.reused for outcome in outcomes),
        "failed": sum(outcome.state == FAILED for outcome in outcomes),
        "interrupted": sum(outcome.state in (INTERRUPTED, RUNNING) for outcome in outcomes),
    }
    ends = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return f"{counted(len(outcomes), 'cell')}: {ends}"
