"""What a grid came to: its tables as files, on the terminal, and as a page."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from layersel.files import atomic_path
from layersel.runs.folder import FINISHED, RunFolder
from layersel.sweep.cells import Cells, collect
from layersel.sweep.comparing import ALL_DATASETS, compare, group
from layersel.sweep.configurations import configurations, named, references
from layersel.sweep.reading import STATES
from layersel.terminal.tables import format_number

SHOWN = 40
"""Most groups on the terminal; of more, those over all datasets."""


@dataclass(frozen=True)
class Summary:
    """The tables of some cells.

    Attributes:
        cells: A row each.
        groups: Each configuration over its seeds.
        comparisons: Each configuration against its reference.
        notes: What a person should know, a line each.
    """

    cells: pd.DataFrame
    groups: pd.DataFrame
    comparisons: pd.DataFrame
    notes: list[str]

    @property
    def complete(self) -> bool:
        """Whether every cell has finished."""
        return bool((self.cells["state"] == FINISHED).all())


def summarise(folder: Path, reference: str | None = None, metric: str | None = None) -> bool:
    """Collect a grid, or an output folder, into itself: tables, report, and what the terminal shows.

    Args:
        folder: The grid's; the files are written there.
        reference: The configuration to compare with, such as "selection=none".
        metric: What is compared; None = what the cells are compared by.

    Returns:
        Whether every cell has finished.

    Raises:
        UserError: The folder holds no cell, or there is no such reference or metric.
    """
    return summarise_into(folder, [folder], reference, metric)


def summarise_into(out: Path, paths: Sequence[str | Path], reference: str | None, metric: str | None) -> bool:
    """As `summarise`, of several folders and globs together, into the folder `out`."""
    from layersel.sweep.report import write_report

    cells = collect(paths, lambda folder: RunFolder(folder).state)
    summary = tables(cells, reference, metric)
    write_tables(out, summary)
    own, groups, comparisons = map(_records, (summary.cells, summary.groups, summary.comparisons))
    higher = cells.measure(metric).higher_is_better
    write_report(out / "report.html", out.resolve().name, own, groups, comparisons, higher)
    show(summary)
    Console().print(f"The tables and report.html are in {out}", soft_wrap=True, markup=False, highlight=False)
    return summary.complete


def tables(cells: Cells, reference: str | None, metric: str | None) -> Summary:
    """The cells, their groups, and their comparisons with the reference."""
    measure = cells.measure(metric)
    options = configurations(cells)
    found, lines = references(options, reference)
    cells = named(cells, options)
    groups = group(cells, measure)
    return Summary(
        cells.table, groups, compare(cells, measure, found), [*cells.notes, *lines, *_left_out(cells.table, groups)]
    )


def write_tables(out: Path, summary: Summary) -> None:
    """Write `cells.csv`, the same as `cells.parquet`, `groups.csv` and `comparisons.csv`."""
    files = {"cells": summary.cells, "groups": summary.groups, "comparisons": summary.comparisons}
    for name, table in files.items():
        with atomic_path(out / f"{name}.csv") as draft:
            table.to_csv(draft, index=False, lineterminator="\n")
    with atomic_path(out / "cells.parquet") as draft:
        summary.cells.to_parquet(draft, index=False)


def show(summary: Summary) -> None:
    """Print how many cells are in which state, the groups, the comparisons, the cells without results, the notes."""
    console = Console(width=None if Console().is_terminal else 160)
    counts = summary.cells["state"].value_counts()
    told = ", ".join(f"{counts[state]} {state}" for state in STATES if state in counts)
    console.print(f"{len(summary.cells)} cells: {told}", highlight=False)
    many = len(summary.groups) > SHOWN
    brief = many or summary.cells["dataset"].nunique() == 1
    console.print(_groups(summary.groups[summary.groups["dataset"] == ALL_DATASETS] if brief else summary.groups))
    if many:
        console.print(
            f"{len(summary.groups)} rows, those of each dataset among them, are in groups.csv", highlight=False
        )
    if len(summary.comparisons):
        console.print(_comparisons(summary.comparisons))
    if not summary.complete:
        console.print(_unfinished(_records(summary.cells)))
    for note in summary.notes:
        console.print(note, soft_wrap=True, markup=False, highlight=False)


def _left_out(cells: pd.DataFrame, groups: pd.DataFrame) -> list[str]:
    """The datasets that are not in the mean over all."""
    datasets = cells["dataset"].nunique()
    averaged = int(groups.loc[groups["dataset"] == ALL_DATASETS, "datasets"].max()) if len(groups) else datasets
    if averaged == datasets or not groups["n"].any():
        return []
    return [f"{ALL_DATASETS}: the mean of the {averaged} of {datasets} that every configuration has a value for"]


def _groups(groups: pd.DataFrame) -> Table:
    columns = ("configuration", "dataset", "n", "mean ± std", "95 % interval", "Pareto")
    rows = [
        [
            row["name"],
            row["dataset"],
            f"{row['n']} of {row['expected']}",
            f"{format_number(row['mean'])} ± {format_number(row['std'])}",
            _interval(row),
            "*" if row["pareto"] else "",
        ]
        for row in _records(groups)
    ]
    return _table(groups["metric"].iloc[0] if len(groups) else "groups", columns, rows)


def _comparisons(comparisons: pd.DataFrame) -> Table:
    columns = ("configuration", "reference", "compared", "difference", "95 % interval", "wins/ties/losses", "p", "Holm")
    rows = [
        [
            row["name"],
            row["reference"],
            str(row["compared"]),
            format_number(row["difference"]),
            _interval(row),
            f"{row['wins']}/{row['ties']}/{row['losses']}",
            format_number(row["p"]),
            format_number(row["p_holm"]),
        ]
        for row in _records(comparisons)
    ]
    return _table(f"differences in {comparisons['metric'].iloc[0]}", columns, rows)


def _unfinished(cells: Sequence[dict[str, Any]]) -> Table:
    """Cells by their folders, and jobs without one by those of their overrides that not all jobs have."""
    jobs = [shlex.split(row["overrides"]) for row in cells if row["overrides"] is not None]
    common = set.intersection(*map(set, jobs)) if len(jobs) > 1 else set()

    def called(row: dict[str, Any]) -> str:
        return row["cell"] or shlex.join(part for part in shlex.split(row["overrides"]) if part not in common)

    rows = [
        [called(row), row["state"], " ".join((row["error"] or "").split())] for row in cells if row["state"] != FINISHED
    ]
    return _table("cells without results", ("cell", "state", "error"), rows)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(*columns, title=Text(title), title_justify="left")
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _interval(row: dict[str, Any]) -> str:
    return "-" if row["low"] is None else f"{format_number(row['low'])} to {format_number(row['high'])}"


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table's rows as plain values, None for what is missing."""
    plain = table.astype(object).where(table.notna(), None)
    return [{str(name): value for name, value in record.items()} for record in plain.to_dict("records")]
