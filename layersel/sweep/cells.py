"""The cells of grids and folders as one table, a row each."""

import glob
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from layersel.errors import UserError, one_of
from layersel.sweep.reading import (
    LABELS,
    STATES,
    Measure,
    Row,
    Scalar,
    StateOf,
    as_recorded,
    as_text,
    is_cell,
    is_grid,
    read_cell,
    read_grid,
)

ABOUT = ("cell", "state", "error", "overrides", "variant", "configuration")
CHOSEN = ("layers", "n_layers")
NO_CELLS = ("grids", "shared", "submitit")
"""What an output folder holds beside cells."""


@dataclass(frozen=True)
class Cells:
    """Cells in any state.

    Attributes:
        table: A row each, sorted by what they are: the columns `ABOUT`, `LABELS`, `CHOSEN`, the options, the metrics.
        options: Which columns are options.
        metrics: Which columns are metrics; empty for a cell that has not finished.
        notes: What a person should know, a line each.
        measures: What the cells are compared by, each once.
    """

    table: pd.DataFrame
    options: list[str]
    metrics: list[str]
    notes: list[str]
    measures: Sequence[Measure] = ()

    def measure(self, name: str | None) -> Measure:
        """What the cells are compared by, or the metric of that name, in the direction of the one that it ends with.

        Raises:
            UserError: The cells are compared by several metrics, and none is named.
        """
        if name is None:
            if len(self.measures) > 1:
                raise one_of("metric", None, [own.name for own in self.measures], "name one; the cells have several")
            return self.measures[0] if self.measures else Measure("", "", higher_is_better=True)
        known = [own for own in self.measures if name == own.name or name.endswith(f"/{own.name}")]
        title = known[0].title if known and known[0].name == name else name
        return Measure(name, title, known[0].higher_is_better if known else True)


def collect(paths: Sequence[str | Path], state_of: StateOf = as_recorded) -> Cells:
    """Read the cells of output folders (all cells in them), grids (their jobs only) and single cells.

    A cell that several paths lead to is one row; so is a job that never became a cell, unless another grid ran it.

    Args:
        paths: Folders or globs.
        state_of: Asked about a cell whose status says running, as its process may be gone.

    Raises:
        UserError: A path leads to no cell.
    """
    rows: list[Row] = []
    notes: list[str] = []
    for path in paths:
        found = {place: _rows(place, state_of) for place in _places(path)}
        if not any(found.values()):
            raise _no_cell(path)
        rows += [row for own in found.values() for row in own]
        notes += [f"{place}: holds no cell; left out" for place in _foreign(found)]
    rows = sorted(_distinct(rows), key=_order)
    measures = dict.fromkeys(row.measure for row in rows if row.measure is not None)
    return Cells(*_tabled(rows), notes=[*dict.fromkeys(notes), *_repeated(rows)], measures=list(measures))


def _places(path: str | Path) -> list[Path]:
    """The folder of that name, else those that match the pattern."""
    if Path(path).exists():
        return [Path(path)]
    return [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207  # absolute ones too


def _rows(place: Path, state_of: StateOf) -> list[Row]:
    if is_grid(place):
        return read_grid(place, state_of)
    if is_cell(place):
        return [read_cell(place, state_of)]
    return [read_cell(folder, state_of) for folder in _folders(place) if is_cell(folder)]


def _folders(place: Path) -> list[Path]:
    """Folders that might be cells; hidden ones are drafts."""
    inside = sorted(place.iterdir()) if place.is_dir() else []
    return [path for path in inside if path.is_dir() and path.name not in NO_CELLS and not path.name.startswith(".")]


def _foreign(found: dict[Path, list[Row]]) -> list[Path]:
    """What was looked at in vain: matches of a glob, folders beside cells."""
    beside = [folder for place in found if not is_grid(place) and not is_cell(place) for folder in _folders(place)]
    return [place for place, rows in found.items() if not rows] + [folder for folder in beside if not is_cell(folder)]


def _no_cell(path: str | Path) -> UserError:
    looked = "holds no cell" if Path(path).exists() else "is not there"
    return UserError(
        f"folder: expected an output folder, a grid's folder (OUTPUT/grids/NAME), a cell's, or a glob of these, but "
        f"{str(path)!r} {looked}; run one with python train.py"
    )


def _distinct(rows: Iterable[Row]) -> list[Row]:
    """One row for each cell, the one that says most, and no job whose cell another row has."""
    best = [min(same, key=_telling) for same in _grouped(rows, _key)]
    have = {(row.variant, row.labels.get("seed")) for row in best if row.identity is not None}
    return [row for row in best if row.identity is not None or (row.variant, row.labels.get("seed")) not in have]


def _grouped(rows: Iterable[Row], key: Any) -> list[list[Row]]:
    groups: dict[Hashable, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return list(groups.values())


def _key(row: Row) -> Hashable:
    if row.identity is not None:
        return row.identity
    if row.variant is not None:
        return row.variant, row.labels["seed"]
    return row.cell, None if row.overrides is None else tuple(sorted(row.overrides.split()))


def _telling(row: Row) -> tuple[Any, ...]:
    return STATES.index(row.state), row.overrides is None, row.overrides or "", row.error or ""


def _repeated(rows: Iterable[Row]) -> list[str]:
    known = [(row.variant, row.labels["seed"]) for row in rows if row.variant is not None]
    count = len(known) - len(set(known))
    told = "another with the same options, data and seed, run with other versions; each counts: remove those"
    return [f"{count} of the cells repeat {told} that shall not"] if count else []


def _order(row: Row) -> list[tuple[int, float, str]]:
    """By dataset, then by the other labels and options, then by seed."""
    what = [row.labels.get(label) for label in LABELS if label != "seed"]
    options = [part for name in sorted(row.options) if name != "seed" for part in (name, row.options[name])]
    last = [row.configuration, row.labels.get("seed"), row.identity, row.cell, row.overrides]
    return [_rank(value) for value in (*what, *options, *last)]


def _rank(value: Scalar) -> tuple[int, float, str]:
    """Numbers by size before words, nothing last."""
    if value is None:
        return 2, 0.0, ""
    return (1, 0.0, value) if isinstance(value, str) else (0, float(value), "")


def _tabled(rows: Sequence[Row]) -> tuple[pd.DataFrame, list[str], list[str]]:
    fixed = [*ABOUT, *LABELS, *CHOSEN]
    options = sorted({name for row in rows for name in row.options} - set(fixed))
    taken = {*fixed, *options}
    metrics = [name for name in dict.fromkeys(name for row in rows for name in row.metrics) if name not in taken]
    records = [_record(row) for row in rows]
    columns = {name: [record.get(name) for record in records] for name in (*fixed, *options, *metrics)}
    table = pd.DataFrame(
        {name: _column(values, "float64" if name in metrics else "string") for name, values in columns.items()}
    )
    return table, options, metrics


def _record(row: Row) -> dict[str, Scalar]:
    about = {name: getattr(row, name) for name in (*ABOUT, *CHOSEN)}
    return row.metrics | row.options | row.labels | about


def _column(values: Sequence[Scalar], if_empty: str) -> "pd.Series[Any]":
    """A column of one type, whole numbers and truth values with gaps too; of several types as text."""
    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pd.Series(values, dtype=if_empty)
    if kinds == {bool}:
        return pd.Series(values, dtype="boolean")
    if kinds == {int}:
        return pd.Series(values, dtype="Int64")
    if kinds <= {int, float}:
        return pd.Series(values, dtype="float64")
    return pd.Series([None if value is None else as_text(value) for value in values], dtype="string")
