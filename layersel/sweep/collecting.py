"""Computes the results of a grid: its tables, its report, and what the terminal shows."""

import hashlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from layersel.files import atomic_path
from layersel.runs.folder import FINISHED
from layersel.sweep.averages import ALL_DATASETS
from layersel.sweep.cells import as_table, records
from layersel.sweep.comparing import CONFIGURATION, compare, names_of, with_outcomes, with_references
from layersel.sweep.configurations import configurations, named, references
from layersel.sweep.curves import MeanCurves, as_frame, mean_curves
from layersel.sweep.dataset_bars import dataset_bars
from layersel.sweep.dataset_lengths import Lengths, dataset_lengths, recorded_lengths
from layersel.sweep.grouping import BASELINE, FURTHER_HEAD, INCOMPLETE, RANKED, group
from layersel.sweep.layers.agreement import agreement
from layersel.sweep.layers.chosen import chosen_layers
from layersel.sweep.layers.oracle import judged, regrets
from layersel.sweep.reading import STATES
from layersel.sweep.report import report_html
from layersel.sweep.results import results
from layersel.sweep.rows import Rows
from layersel.tasks.curves import LENGTHS
from layersel.tasks.task import Metric
from layersel.terminal.figures import PNG, SVG, write_figures
from layersel.terminal.tables import counted, format_number

SHOWN = 40
"""Most groups on the terminal; of more, those over all datasets."""
Part = str | dict[str, Any]
"""A line for the terminal, or the `title`, `columns` and `rows` of a table."""


@dataclass(frozen=True)
class Tables:
    """The tables of some cells.

    Attributes:
        cells: A row for each cell.
        groups: Each configuration over its seeds.
        comparisons: Each configuration against its reference, the pretrained model, references without a model, and
            further heads of the same model.
        notes: Lines that a person should read.
        titles: The titles of the outcomes beside the adapted model's, by name.
        curves: The mean curves that cells have recorded, by name.
        agreement: Every two scores of layers that cells have measured, and how far they agree.
        regrets: Each choice of layers against that of an oracle, where each layer was trained alone.
        chosen: How often each score chose each layer, for each dataset and budget.
        lengths: How long the texts of each dataset are.
        metric: What is compared; its `beside` is the groups' column of that name.
    """

    cells: pd.DataFrame
    groups: pd.DataFrame
    comparisons: pd.DataFrame
    notes: list[str]
    titles: dict[str, str]
    curves: dict[str, MeanCurves]
    agreement: pd.DataFrame
    regrets: pd.DataFrame
    chosen: pd.DataFrame
    lengths: Lengths
    metric: Metric


def tables(rows: Rows, reference: str | None, metric: Metric) -> Tables:
    """Returns the cells, their groups by the metric, and their comparisons with the reference.

    Raises:
        UserError: There is no such reference or metric.
    """
    cells = as_table(rows.rows)
    options = configurations(cells)
    found, lines = references(options, reference)
    cells = named(cells, options)
    groups = group(cells, metric)
    of_oracles, incomplete = judged(cells, metric)
    notes = [*rows.notes, *lines, *_not_ranked(groups), *incomplete]
    each = {name: [configuration] for configuration, name in names_of(cells).items()}
    comparisons = compare([*with_references(cells, metric, found), *with_outcomes(cells, metric, each)], metric)
    ranked = groups.loc[groups["kind"] == RANKED, "configuration"].unique().tolist()
    curves = mean_curves(cells, metric, ranked)
    return Tables(
        cells.table,
        groups,
        comparisons,
        notes,
        cells.titles,
        curves,
        agreement(cells),
        regrets(of_oracles),
        chosen_layers(cells, of_oracles),
        recorded_lengths(cells),
        metric,
    )


def write_files(out: Path, own: Tables) -> dict[str, str]:
    """Writes the tables as CSV, the cells as Parquet too, the means as Markdown, the report, and the figures.

    Returns:
        The SHA-256 of each file by its name.
    """
    bars = dataset_bars(own.cells, own.groups, own.titles["base"], own.metric)
    figures = {} if bars is None else {"datasets": bars}
    figures |= {LENGTHS: dataset_lengths(own.lengths)} if own.lengths else {}
    write_figures(figures, out, (PNG, SVG))
    drawn = {f"{name}.{form}": (out / f"{name}.{form}").read_bytes() for name in figures for form in (PNG, SVG)}
    frames = {"cells": own.cells, "groups": own.groups, "comparisons": own.comparisons}
    frames |= {"agreement": own.agreement, "regrets": own.regrets, "chosen_layers": own.chosen}
    tables = frames | {"curves": as_frame(own.curves)}
    files = {f"{name}.csv": table.to_csv(index=False, lineterminator="\n").encode() for name, table in tables.items()}
    files["results.md"] = f"{results(own.groups, own.metric)}\n".encode()
    files["cells.parquet"] = own.cells.to_parquet(index=False)
    contents = {name: records(table) for name, table in frames.items()}
    curves = {name: asdict(several) for name, several in own.curves.items()}
    lengths = drawn.get(f"{LENGTHS}.{SVG}")
    files["report.html"] = report_html(
        out.resolve().name, own.metric, **contents, titles=own.titles, curves=curves, lengths=lengths
    ).encode()
    for name, content in files.items():
        with atomic_path(out / name) as draft:
            draft.write_bytes(content)
    return {name: hashlib.sha256(content).hexdigest() for name, content in (drawn | files).items()}


def printed(own: Tables) -> list[Part]:
    """Returns what the terminal shows: states, groups, comparisons, the cells without results, the notes."""
    counts = own.cells["state"].value_counts()
    states = ", ".join(f"{counts[state]} {state}" for state in STATES if state in counts)
    parts: list[Part] = [f"{len(own.cells)} cells: {states}"]
    many = len(own.groups) > SHOWN
    brief = many or own.cells["dataset"].nunique() == 1
    groups = own.groups[own.groups["dataset"] == ALL_DATASETS] if brief else own.groups
    groups = groups[groups["kind"].isin([RANKED, FURTHER_HEAD, BASELINE])]
    if len(groups):
        parts.append(_groups(groups, own.metric))
    if many:
        parts.append(f"{len(own.groups)} rows, those of each dataset among them, are in groups.csv")
    incomplete = own.groups[(own.groups["kind"] == INCOMPLETE) & (own.groups["dataset"] == ALL_DATASETS)]
    if len(incomplete):
        parts.append(_incomplete(incomplete))
    against = own.comparisons["against"]
    for chosen in (own.comparisons[against == CONFIGURATION], own.comparisons[against != CONFIGURATION]):
        if len(chosen) > SHOWN:
            kinds = ", ".join(chosen["reference"].unique())
            parts.append(f"{len(chosen)} comparisons ({kinds}) are in comparisons.csv")
        elif len(chosen):
            parts.append(_comparisons(chosen, own.metric))
    parts += [_agreement(own.agreement)] if 0 < len(own.agreement) <= SHOWN else []
    parts += [_regrets(own.regrets, own.metric.name)] if len(own.regrets) else []
    if (own.cells["state"] != FINISHED).any():
        parts.append(_unfinished(records(own.cells)))
    return [*parts, *own.notes]


def _not_ranked(groups: pd.DataFrame) -> list[str]:
    """Returns a line if no configuration is ranked, or some values of ranked ones are left out, as others lack them."""
    overall = groups[groups["dataset"] == ALL_DATASETS]
    if len(overall) and not (overall["kind"] == RANKED).any() and overall["n"].any():
        return ["no configuration has a value in all of its cells, so none is ranked"]
    ranked = groups[groups["kind"] == RANKED]
    own = ranked.loc[ranked["dataset"] == ALL_DATASETS]
    if (own["n"] >= own["expected"]).all():
        return []
    splits = counted(int(own["n"].min()), "split")
    return [f"{ALL_DATASETS}: over the {splits} (a dataset under a seed) that every ranked configuration has"]


def _groups(groups: pd.DataFrame, metric: Metric) -> Part:
    second = [] if metric.beside is None or groups["beside"].isna().all() else [metric.beside]
    columns = ("configuration", "dataset", "n", "mean ± std", "95 % interval", *second, "Pareto")
    rows = [
        [
            row["name"],
            row["dataset"],
            _count(row),
            _mean(row),
            _interval(row),
            *(format_number(row["beside"]) for _ in second),
            "*" if row["pareto"] else "",
        ]
        for row in records(groups)
    ]
    return _table(metric.directed_title, columns, rows)


def _incomplete(groups: pd.DataFrame) -> Part:
    columns = ("configuration", "n", "mean ± std of these", "lacks")
    rows = [[row["name"], _count(row), _mean(row), row["lacks"] or ""] for row in records(groups)]
    return _table("incomplete configurations, which are not ranked", columns, rows)


def _count(row: dict[str, Any]) -> str:
    return str(row["n"]) if row["n"] == row["expected"] else f"{row['n']} of {row['expected']}"


def _mean(row: dict[str, Any]) -> str:
    return f"{format_number(row['mean'])} ± {format_number(row['std'])}"


def _comparisons(comparisons: pd.DataFrame, metric: Metric) -> Part:
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
        for row in records(comparisons)
    ]
    units = " or ".join(comparisons["unit"].unique())
    title = f"differences in {metric.directed_title}; interval, wins/ties/losses and p over each {units}"
    return _table(title, columns, rows)


def _agreement(agreement: pd.DataFrame) -> Part:
    columns = ("score", "and", "compared", "Kendall's τ", "layers in common", "by chance")
    rows = [
        [
            row["name"],
            row["other"],
            str(row["compared"]),
            *map(format_number, (row["tau"], row["overlap"], row["by_chance"])),
        ]
        for row in records(agreement)
    ]
    return _table("agreement of scores, over the same datasets and seeds", columns, rows)


def _regrets(regrets: pd.DataFrame, metric: str) -> Part:
    columns = (
        "configuration",
        "n",
        "compared",
        "regret",
        "95 % interval",
        "of chance",
        "Kendall's τ",
        "layers in common",
    )
    rows = [
        [
            row["name"],
            str(row["n"]),
            str(row["compared"]),
            format_number(row["regret"]),
            _interval(row),
            *map(format_number, (row["share"], row["tau"], row["overlap"])),
        ]
        for row in records(regrets)
    ]
    return _table(f"{metric} of the chosen layers against the best, each trained alone", columns, rows)


def _unfinished(cells: Sequence[dict[str, Any]]) -> Part:
    """Lists cells by their folders, and jobs without one by those of their overrides that not all jobs have."""
    jobs = [shlex.split(row["overrides"]) for row in cells if row["overrides"] is not None]
    common = set.intersection(*map(set, jobs)) if len(jobs) > 1 else set()

    def name(row: Mapping[str, Any]) -> str:
        return row["cell"] or shlex.join(part for part in shlex.split(row["overrides"]) if part not in common)

    rows = [
        [name(row), row["state"], " ".join((row["error"] or "").split())] for row in cells if row["state"] != FINISHED
    ]
    return _table("cells without results", ("cell", "state", "error"), rows)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Part:
    return {"title": title, "columns": list(columns), "rows": [list(row) for row in rows]}


def _interval(row: dict[str, Any]) -> str:
    return "-" if row["low"] is None else f"{format_number(row['low'])} to {format_number(row['high'])}"
