"""Writes a page of evidence as Markdown."""

import math
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from layersel.errors import UserError
from layersel.runs.folder import FINISHED
from layersel.sweep.cells import Cells, as_table
from layersel.sweep.comparing import (
    CONFIGURATION,
    Comparison,
    balanced,
    by_split,
    compare,
    names_of,
    with_outcomes,
    with_references,
)
from layersel.sweep.configurations import configurations, named, references
from layersel.sweep.evidence.outline import Outline, Question
from layersel.sweep.factors import levels, with_value
from layersel.sweep.layers.agreement import agreement
from layersel.sweep.layers.oracle import judged, regrets
from layersel.sweep.markdown import markdown
from layersel.sweep.reading import Row, is_grid
from layersel.sweep.rows import Rows, collect_rows
from layersel.tasks.task import Metric
from layersel.terminal.tables import counted, format_number

UNKNOWN = "unknown"
READING = """A row compares values of the same datasets and seeds: their difference is the mean over datasets of the
means over seeds, and over the `settings` of all other options that have all of these. From 3 datasets on, interval
(95 %), wins/ties/losses and p (Wilcoxon; Holm's for the rows with one reference) are over the datasets, as seeds of one
dataset are not independent; of fewer datasets they are over the seeds and say nothing of other datasets. p is at least
.25 with 3 of these values, .0625 with 5 and .0156 with 7: of so few, Holm's can be small for few rows only. The
interval is Student's t of 3 to 9 of these values, a bootstrap of more, and missing of fewer. `±` is half the interval:
about the smallest difference that so many datasets and seeds tell from none. Selections are compared with one another
where they adapt as many layers, and each with `none`. `random` draws the same layers for all datasets under one seed
and `selection.choice`: an interval over datasets does not say what other draws would give. Where layers were trained
alone, the regret is what the chosen ones are worth alone below as many of the best; 1 `of chance` is that of random
ones."""
NUMBERS = (
    "settings",
    "datasets",
    "values",
    "mean",
    "difference",
    "95 % interval",
    "±",
    "wins/ties/losses",
    "p",
    "Holm",
)


def page(outline: Outline) -> str:
    """Returns the page.

    Raises:
        UserError: A folder is no grid's, or its cells do not answer the question.
    """
    parts = [f"# {outline.title}", outline.about.strip(), READING]
    rows_of = cache(collect_rows)  # several questions ask the same grids
    for number, question in enumerate(outline.questions, start=1):
        try:
            _check_grids(question.grids)
            parts += _section(question, rows_of(tuple(question.grids)))
        except UserError as error:
            raise UserError(f"question {number}: {error}") from error
    return "\n\n".join(part for part in parts if part) + "\n"


def _check_grids(folders: Sequence[str]) -> None:
    for folder in folders:
        if not (is_grid(Path(folder)) or Path(folder).is_file()):
            raise UserError(f"grids: expected a grid's folder (OUTPUT/grids/NAME) or an archive, but got {folder!r}")


def _section(question: Question, rows: Rows) -> list[str]:
    metric = rows.metric(question.metric)
    cells = as_table(rows.rows)
    cells = named(cells, configurations(cells))
    comparisons, several, lines = _comparisons(question, cells, metric)
    regret_table, incomplete = _regrets(cells, metric)
    return [
        f"## {question.question}",
        question.about.strip(),
        "\n".join(["```bash", *rows.commands, "```"]),
        _source(rows.rows, metric),
        _table(comparisons, metric),
        _by_dataset(comparisons),
        _table(list(with_outcomes(cells, metric, several)), metric),
        _agreement(cells),
        regret_table,
        "\n".join(f"- {line}" for line in (*lines, *rows.notes, *incomplete)),
    ]


def _comparisons(
    question: Question, cells: Cells, metric: Metric
) -> tuple[list[Comparison], dict[str, list[str]], list[str]]:
    """Returns what is compared with the reference, the configurations of each name, and what a person should read."""
    if question.factor is not None and question.reference is not None:
        comparisons, lines = with_value(cells, metric, question.factor, question.reference)
        return comparisons, levels(cells, question.factor), lines
    each = {name: [own] for own, name in names_of(cells).items()}
    if question.reference is None:
        return [], each, []
    found, lines = references(configurations(cells), question.reference)
    return list(with_references(cells, metric, found)), each, lines


def _source(rows: Sequence[Row], metric: Metric) -> str:
    """Returns how many cells there are, of what, and which code has run them."""
    finished = [row for row in rows if row.state == FINISHED]
    datasets, seeds = ({row.labels.get(label) for row in finished} for label in ("dataset", "seed"))
    unfinished = f", {len(rows) - len(finished)} without results" if len(finished) < len(rows) else ""
    revisions = Counter(row.revision or UNKNOWN for row in finished)
    code = ", ".join(f"{revision} ({counted(count, 'cell')})" for revision, count in revisions.most_common())
    return (
        f"{metric.directed_title}; {counted(len(finished), 'cell')} of {counted(len(datasets), 'dataset')} and "
        f"{counted(len(seeds), 'seed')}{unfinished}. Commit of the code: {code}."
    )


def _table(comparisons: Sequence[Comparison], metric: Metric) -> str:
    """Returns the differences with their intervals and tests; nothing where nothing is compared."""
    table = compare(comparisons, metric).astype(object)
    rows = [
        [
            _code(row["name"]),
            _code(row["reference"]) if row["against"] == CONFIGURATION else row["reference"],
            str(row["settings"]),
            str(row["datasets"]),
            str(row["compared"]),
            _number(row["mean"], ".3f"),
            _number(row["difference"], "+.3f"),
            "-"
            if pd.isna(row["low"])
            else " to ".join(format_number(row[end], digits=1, sign="+") for end in ("low", "high")),
            _number((row["high"] - row["low"]) / 2, ".3f"),
            f"{row['wins']}/{row['ties']}/{row['losses']}",
            _number(row["p"], ".3g"),
            _number(row["p_holm"], ".3g"),
        ]
        for row in table.to_dict("records")
    ]
    return markdown(["", "against", *NUMBERS], rows)


def _by_dataset(comparisons: Sequence[Comparison]) -> str:
    """Returns the differences of each dataset, the means over its seeds; nothing where nothing is compared."""
    if not comparisons:
        return ""
    found = [by_split(balanced(own.contrasts))["difference"].groupby(level="dataset").mean() for own in comparisons]
    table = pd.concat(found, axis=1, keys=[_code(own.name) for own in comparisons]).sort_index()
    rows = [[str(dataset), *(_number(value, "+.3f") for value in values)] for dataset, *values in table.itertuples()]
    return markdown(["difference", *table], rows)


def _agreement(cells: Cells) -> str:
    """Returns Kendall's τ of every two scores of layers as a square; nothing where there are no two."""
    table = agreement(cells)
    names = list(dict.fromkeys([*table["name"], *table["other"]]))
    taus = table.set_index(["name", "other"])["tau"].to_dict()
    plain = [_code(name.removeprefix("selection=")) for name in names]
    rows = [
        [own, *(_number(taus.get((one, two), taus.get((two, one), math.nan)), ".2f") for two in names)]
        for own, one in zip(plain, names, strict=True)
    ]
    return markdown(["Kendall's τ", *plain], rows)


def _regrets(cells: Cells, metric: Metric) -> tuple[str, list[str]]:
    """Returns how near choices come to an oracle, and the lines of `judged`; nothing where no layer was alone."""
    found, lines = judged(cells, metric)
    rows = [
        [
            _code(row["name"]),
            str(row["n"]),
            str(row["compared"]),
            _number(row["regret"], ".4f"),
            "-" if pd.isna(row["low"]) else f"{row['low']:.4f} to {row['high']:.4f}",
            *(_number(row[column], ".2f") for column in ("share", "tau", "overlap")),
        ]
        for row in regrets(found).to_dict("records")
    ]
    columns = ["layers trained alone", "n", "values", "regret", "95 % interval", "of chance", "τ", "layers in common"]
    return markdown(columns, rows), lines


def _code(text: str) -> str:
    return f"`{text}`"


def _number(value: Any, form: str) -> str:
    return "-" if pd.isna(value) else format(value, form)
