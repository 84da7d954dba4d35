"""The cells of grids and folders, each once, as rows; nothing here loads pandas."""

import glob
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from layersel.errors import UserError, one_of
from layersel.sweep.archive import ENDING, command_of, read_archive
from layersel.sweep.reading import (
    DAMAGED,
    LABELS,
    STATES,
    Row,
    Scalar,
    StateOf,
    as_recorded,
    is_cell,
    is_grid,
    read_cell,
    read_grid,
)
from layersel.tasks.task import Metric

NO_CELLS = ("grids", "shared", "submitit")
"""Names of the folders that an output folder holds beside cells."""


@dataclass(frozen=True)
class Rows:
    """Cells in any state.

    Attributes:
        rows: The cells, sorted by what they are.
        notes: Lines that a person should read.
        commands: The commands of the grids that they are of, as far as grids or archives were read.
    """

    rows: list[Row]
    notes: list[str]
    commands: list[str]

    def metric(self, name: str | None) -> Metric:
        """Returns the metric to compare the cells by.

        Args:
            name: A column of metrics. None = the cells' own metric, which has no name while no cell says it.

        Raises:
            UserError: No name is given, and the cells have several metrics; or nobody has told whether higher or lower
                values of that column are better, or cells disagree.
        """
        own = list(dict.fromkeys(row.metric for row in self.rows if row.metric is not None))
        if name is None:
            if len(own) > 1:
                known = [metric.name for metric in own]
                raise one_of("metric", None, known, "name one: the cells are compared by several")
            return own[0] if own else Metric("", "")
        exact = next((metric for metric in own if metric.name == name), None)
        if exact is not None:
            return exact
        if not any(row.metrics for row in self.rows):
            return Metric(name, name)  # no cell has finished: nothing is compared
        higher = {row.higher_is_better(name) for row in self.rows if name in row.metrics}
        if len(higher) == 1 and None not in higher:
            return Metric(name, name, higher_is_better=True in higher)
        columns = {column: row for row in self.rows for column in row.metrics if "/" not in column}
        known = [column for column, row in columns.items() if row.higher_is_better(column) is not None]
        raise one_of("metric", name, known, "or another column of cells.csv of which it is known what is better")


@dataclass(frozen=True)
class _Found:
    """What a place holds: cells, folders that are none, and the commands of grids."""

    rows: list[Row]
    foreign: list[Path] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)


def collect_rows(paths: Sequence[str | Path], state_of: StateOf = as_recorded) -> Rows:
    """Reads the cells of output folders (all cells in them), grids (their jobs only), archives and single cells.

    A cell that several paths lead to is one row; so is a job that never became a cell, unless another grid ran it.

    Args:
        paths: Folders, archives or globs.
        state_of: Gives the state of a cell whose status says running, as its process may be gone.

    Raises:
        UserError: A path leads to no cell.
    """
    rows: list[Row] = []
    notes: list[str] = []
    commands: list[str] = []
    for path in paths:
        found = {place: _read_place(place, state_of, named=place == Path(path)) for place in _places(path)}
        if not any(own.rows for own in found.values()):
            raise _no_cell(path)
        rows += [row for own in found.values() for row in own.rows]
        commands += [command for own in found.values() for command in own.commands]
        empty = [place for place, own in found.items() if not own.rows]
        foreign = [folder for own in found.values() for folder in own.foreign]
        notes += [f"{place}: holds no cell; left out" for place in (*empty, *foreign)]
    rows = sorted(_distinct(rows), key=_order)
    damaged = [row for row in rows if row.state == DAMAGED and row.cell is not None]
    notes += [f"{row.cell}: {row.error}; delete its folder and run it again" for row in damaged]
    return Rows(rows, [*dict.fromkeys(notes), *_repeated(rows)], list(dict.fromkeys(commands)))


def _places(path: str | Path) -> list[Path]:
    """Returns the folder of that name, else those that match the pattern."""
    if Path(path).exists():
        return [Path(path)]
    return [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207  # absolute ones too


def _read_place(place: Path, state_of: StateOf, named: bool) -> _Found:
    """Returns what a grid, an archive, a cell or an output folder holds.

    A file that is `named`, and not one of those that match a pattern, must be an archive.
    """
    if place.is_file() and (named or place.suffix == ENDING):
        try:
            archive = read_archive(place)
        except UserError:
            if named:
                raise
            return _Found([])
        return _Found(archive.rows(), commands=archive.commands)
    if is_grid(place):
        return _Found(read_grid(place, state_of), commands=[command_of(place)])
    if is_cell(place):
        return _Found([read_cell(place, state_of)])
    inside = [path for path in sorted(place.iterdir()) if path.is_dir()] if place.is_dir() else []
    folders = [path for path in inside if path.name not in NO_CELLS and not path.name.startswith(".")]  # hidden: drafts
    cells = [folder for folder in folders if is_cell(folder)]
    foreign = [folder for folder in folders if folder not in cells]
    return _Found([read_cell(folder, state_of) for folder in cells], foreign)


def _no_cell(path: str | Path) -> UserError:
    looked = "holds no cell" if Path(path).exists() else "is not there"
    return UserError(
        f"folder: expected an output folder, a grid's folder (OUTPUT/grids/NAME), a cell's, an archive, or a glob of "
        f"these, but {str(path)!r} {looked}; run one with python train.py"
    )


def _distinct(rows: Iterable[Row]) -> list[Row]:
    """Returns one row for each cell, the one that holds most, and no job whose cell another row has."""
    groups: dict[Hashable, list[Row]] = {}
    for row in rows:
        groups.setdefault(_key(row), []).append(row)
    best = [min(same, key=_completeness) for same in groups.values()]
    have = {(row.variant, row.labels.get("seed")) for row in best if row.identity is not None}
    return [row for row in best if row.identity is not None or (row.variant, row.labels.get("seed")) not in have]


def _key(row: Row) -> Hashable:
    if row.identity is not None:
        return row.identity
    if row.variant is not None:
        return row.variant, row.labels["seed"]
    return row.cell, None if row.overrides is None else tuple(sorted(row.overrides.split()))


def _completeness(row: Row) -> tuple[Any, ...]:
    """Returns the key that sorts the row that holds most of a cell first."""
    return STATES.index(row.state), row.overrides is None, row.overrides or "", row.error or ""


def _repeated(rows: Iterable[Row]) -> list[str]:
    known = [(row.configuration, row.labels["dataset"], row.labels["seed"]) for row in rows if row.variant is not None]
    count = len(known) - len(set(known))
    what = "another with the same options, dataset and seed, run with other versions or other content"
    counts = "each counts in the means, none in a comparison: remove those that shall not count"
    return [f"{count} of the cells repeat {what}; {counts}"] if count else []


def _order(row: Row) -> list[tuple[int, float, str]]:
    """Returns the key that sorts by dataset, then by the other labels and options, then by seed."""
    what = [row.labels.get(label) for label in LABELS if label != "seed"]
    options = [part for name in sorted(row.options) if name != "seed" for part in (name, row.options[name])]
    last = [row.configuration, row.labels.get("seed"), row.identity, row.cell, row.overrides]
    return [_rank(value) for value in (*what, *options, *last)]


def _rank(value: Scalar) -> tuple[int, float, str]:
    """Returns the key that sorts numbers by size, then texts, then what is missing."""
    if value is None:
        return 2, 0.0, ""
    return (1, 0.0, value) if isinstance(value, str) else (0, float(value), "")
