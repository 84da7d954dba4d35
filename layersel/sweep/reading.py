"""Reads the folders of cells and grids, row by row; a damaged one becomes a row that says so."""

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from layersel.errors import DamagedError, UserError
from layersel.files import read_sealed
from layersel.runs.folder import FAILED, FINISHED, INTERRUPTED, RUNNING, RunFolder
from layersel.tasks.curves import Curves
from layersel.tasks.task import Metric

MISSING, DAMAGED = "missing", "damaged"
"""States beside those of a run: a cell never began, or cannot be read."""
STATES = (FINISHED, RUNNING, INTERRUPTED, FAILED, DAMAGED, MISSING)
"""All states, those in which a cell holds most first."""
LABELS = ("dataset", "model", "selection", "n", "adapter", "rank", "precision", "pruning", "merging", "seed")
"""The labels by which a person knows a cell."""

EARLIER_LOWER = ("loss", "perplexity", "retention_loss", "retention_perplexity", "retention_change", "rmse")
"""The metrics whose lower values are better in cells of versions that did not record it: those that their tasks had."""
LOWER_OF_EVERY_CELL = ("parameters/", "seconds/")
"""What the names of the costs that every cell records begin with; lower values are better."""

Scalar = str | int | float | bool | None
StateOf = Callable[[Path], str | None]


@dataclass(frozen=True)
class Row:
    """The record of a cell, or of a job that has not become one.

    Attributes:
        cell: The name of its folder.
        state: One of `STATES`.
        error: Why it failed or cannot be read.
        overrides: Its job's overrides, as they are typed.
        variant: The hash of what it is but for the seed.
        configuration: The hash of what it is but for seed and dataset.
        identity: The hash of all that it is.
        labels: The values of `LABELS`.
        options: Every deciding option by its dotted name.
        metrics: The content of its `metrics.json`; empty unless it has finished.
        layers: The chosen layers, such as "3,4,5".
        n_layers: The number of layers to choose from.
        scores: The score of each layer, None where it has none; None if the layers were not measured.
        resampled: For each layer, the share of bootstrap samples of the probe that choose it; None without these.
        stability: The mean rank correlation of the layers' scores by these samples with those by the whole probe.
        metric: The metric that the cell is compared by.
        lower_is_better: The names of the task's metrics whose lower values are better.
        references: The titles of the outcomes without a model, by name.
        curves: The curves that it recorded of its outcomes, by name.
        revision: The commit of the code that ran it; None outside a checkout.
    """

    cell: str | None
    state: str
    error: str | None = None
    overrides: str | None = None
    variant: str | None = None
    configuration: str | None = None
    identity: str | None = None
    labels: dict[str, Scalar] = field(default_factory=dict)
    options: dict[str, Scalar] = field(default_factory=dict)
    metrics: dict[str, Scalar] = field(default_factory=dict)
    layers: str | None = None
    n_layers: int | None = None
    scores: list[float | None] | None = None
    resampled: list[float] | None = None
    stability: float | None = None
    metric: Metric | None = None
    lower_is_better: list[str] = field(default_factory=lambda: [*EARLIER_LOWER])
    references: dict[str, str] = field(default_factory=dict)
    curves: dict[str, Curves] = field(default_factory=dict)
    revision: str | None = None

    def higher_is_better(self, column: str) -> bool | None:
        """Returns the direction of one of its metrics, of whatever outcome and dataset; None where nobody has told it.

        The costs of a cell have one, what its metric may cost, and what is measured of models: the pretrained one too.
        """
        own, name = self.metric, column.rpartition("/")[2]
        if column.startswith(LOWER_OF_EVERY_CELL) or name in self.lower_is_better:
            return False
        if own is not None and name in (own.name, own.beside):
            return name == own.name and own.higher_is_better
        return True if f"base/{name}" in self.metrics else None


@dataclass(frozen=True)
class RecordedJob:
    """A job of a grid and its record; `state` is None if it never began."""

    overrides: list[str]
    state: str | None
    cell: str | None
    error: str | None

    @property
    def without_seed(self) -> list[str]:
        """The overrides that it shares with the jobs of other seeds, sorted."""
        return sorted(override for override in self.overrides if not override.startswith("seed="))

    @property
    def seed(self) -> int | None:
        """The seed that it was given; None if there is none or it is no number."""
        given = [override.removeprefix("seed=") for override in self.overrides if override.startswith("seed=")]
        return int(given[-1]) if given and given[-1].isdecimal() else None


def is_cell(folder: Path) -> bool:
    """Returns whether a folder is that of a cell."""
    return (folder / "identity.json").is_file() or (folder / "status.json").is_file()


def is_grid(folder: Path) -> bool:
    """Returns whether a folder is that of a grid."""
    return (folder / "grid.json").is_file()


def as_recorded(folder: Path) -> str:
    """Returns the state that a cell's `status.json` names.

    Raises:
        DamagedError: The file is missing, or not as it was written.
    """
    return str(_status(folder)["state"])


def read_cell(folder: Path, state_of: StateOf = as_recorded) -> Row:
    """Returns the row of a cell in whatever state; only a finished one has metrics.

    Args:
        folder: The cell's folder.
        state_of: Gives the state of a cell whose status says running, as its process may be gone.
    """
    row, run = Row(folder.name, DAMAGED), RunFolder(folder)
    try:
        row = _with_state(row, folder, state_of)
        row = _with_identity(row, run.read_identity())
        return _with_results(row, run) if row.state == FINISHED else row
    except DamagedError as error:
        reason = f"{row.error}; {error.brief}" if row.error is not None else error.brief
        return replace(row, state=DAMAGED if row.state == FINISHED else row.state, error=reason)


def read_grid(folder: Path, state_of: StateOf = as_recorded) -> list[Row]:
    """Returns a row for each job of a grid; one without a cell takes its labels from one that differs in the seed only.

    Raises:
        UserError: The grid's own file is damaged.
    """
    jobs = [_read_job(folder / "jobs", job["num"], job["overrides"]) for job in _read_record(folder)["jobs"]]
    rows = [_job_row(job, folder.parent.parent, state_of) for job in jobs]
    known = {tuple(job.without_seed): row for job, row in zip(jobs, rows, strict=True) if row.variant is not None}
    return [
        row if row.variant is not None else _as_sibling(row, job, known.get(tuple(job.without_seed)))
        for job, row in zip(jobs, rows, strict=True)
    ]


def read_overrides(folder: Path) -> list[str]:
    """Returns the overrides of a grid's command, as they were typed.

    Raises:
        UserError: The grid's own file is damaged.
    """
    return list(_read_record(folder)["overrides"])


def as_text(value: Any) -> str:
    """Returns a value as it is given on the command line.

    Example:
        >>> [as_text(value) for value in (None, True, 3.0, 0.0005, ["query", "value"], {"a": 1})]
        ['null', 'true', '3', '0.0005', '[query,value]', '{a:1}']
    """
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    if isinstance(value, list):
        return f"[{','.join(map(as_text, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{name}:{as_text(own)}' for name, own in value.items())}}}"
    return str(value)


def _with_state(row: Row, folder: Path, state_of: StateOf) -> Row:
    status = _status(folder)
    state = str(status["state"])
    if state == RUNNING:
        state = state_of(folder) or MISSING
        status = _status(folder)  # it may have ended meanwhile
    error = status.get("error")
    return replace(row, state=state, error=None if error is None else str(error))


def _status(folder: Path) -> dict[str, Any]:
    run = RunFolder(folder)
    status = run.read_status()
    if status is None:
        raise DamagedError(run.status, "is missing")
    return status


def _with_identity(row: Row, identity: dict[str, Any]) -> Row:
    return replace(
        row,
        variant=identity["variant"],
        configuration=identity["configuration"],
        identity=identity["identity"],
        labels={label: _scalar(identity["labels"].get(label)) for label in LABELS},
        options={name: _scalar(value) for name, value in identity["options"].items()},
        metric=Metric(**identity["metric"]),
        lower_is_better=identity.get("lower_is_better", [*EARLIER_LOWER]),
        references=identity.get("references", {}),  # earlier runs have none
        revision=identity.get("revision"),
    )


def _with_results(row: Row, folder: RunFolder) -> Row:
    metrics = {name: _scalar(value) for name, value in folder.read_metrics().items()}
    row = replace(row, metrics=metrics, curves={name: Curves(**own) for name, own in folder.read_curves().items()})
    chosen = folder.read_selection()
    if chosen is None:  # a merging cell chooses none
        return row
    layers, scores = ",".join(map(str, chosen["layers"])), chosen["scores"]
    again = chosen.get("score") not in (None, row.labels["selection"])  # by a regime: these are no scores of the cell's
    known = chosen.get("measured") and not again
    row = replace(row, layers=layers, n_layers=len(scores), scores=scores if known else None)
    stability = chosen.get("stability")
    if stability is None:
        return row
    return replace(row, resampled=stability["chosen_share"], stability=stability["rank_correlation"])


def _read_record(folder: Path) -> dict[str, Any]:
    file = folder / "grid.json"
    try:
        return read_sealed(file)
    except (DamagedError, FileNotFoundError) as error:
        raise UserError(
            f"folder: expected a grid in {str(folder)!r}, but its {getattr(error, 'brief', 'grid.json is missing')}; "
            "collect its output folder instead"
        ) from error


def _read_job(folder: Path, num: int, overrides: list[str]) -> RecordedJob:
    try:
        record = read_sealed(folder / f"{num}.json")
        return RecordedJob(overrides, record["state"], record["cell"], record["error"])
    except FileNotFoundError:
        return RecordedJob(overrides, None, None, None)
    except DamagedError as error:
        return RecordedJob(overrides, DAMAGED, None, error.brief)


def _job_row(job: RecordedJob, output: Path, state_of: StateOf) -> Row:
    typed = shlex.join(job.overrides)
    folder = None if job.cell is None else output / Path(job.cell).name
    if folder is not None and is_cell(folder):
        row = read_cell(folder, state_of)
        error = job.error if row.error is None and row.state != FINISHED else row.error
        return replace(row, overrides=typed, error=error)
    if job.state == FINISHED:
        return Row(job.cell, MISSING, "it had finished, but its folder is gone", typed)
    return Row(job.cell, job.state or MISSING, job.error, typed)


def _as_sibling(row: Row, job: RecordedJob, sibling: Row | None) -> Row:
    if sibling is None:
        return row
    return replace(
        row,
        variant=sibling.variant,
        configuration=sibling.configuration,
        labels=sibling.labels | {"seed": job.seed},
        options=sibling.options,
    )


def _scalar(value: Any) -> Scalar:
    return as_text(value) if isinstance(value, list | dict) else value
