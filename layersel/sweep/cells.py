"""The cells as one table, a row each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from layersel.errors import one_of
from layersel.sweep.reading import LABELS, Row, Scalar, as_text
from layersel.tasks.curves import Curves

ABOUT = ("cell", "state", "error", "overrides", "variant", "configuration")
CHOSEN = ("layers", "n_layers", "stability")
TITLES = {"base": "base (no adapter)", "own": "own adapters"}
"""The titles of the outcomes beside the adapted model's that every task has, by name."""
HEAD = "_head"
"""How the names of outcomes under a further head end: "svm_head", and of the pretrained model "base/svm_head"."""
PARAMETERS, SECONDS = "parameters/trainable", "seconds/total"


@dataclass(frozen=True)
class Cells:
    """Cells in any state.

    Attributes:
        table: A row for each cell: the columns `ABOUT`, `LABELS`, `CHOSEN`, the options, the metrics.
        options: The names of the columns that are options.
        metrics: The names of the columns that are metrics, which are empty for a cell that has not finished.
        titles: The titles of the outcomes beside the adapted model's, by name.
        curves: The curves that each cell recorded, by name.
        scores: The score of each layer in each cell; None where layers were not measured.
        resampled: For each layer in each cell, the share of bootstrap samples that choose it; None without these.
    """

    table: pd.DataFrame
    options: list[str]
    metrics: list[str]
    titles: dict[str, str]
    curves: list[Mapping[str, Curves]]
    scores: list[list[float | None] | None]
    resampled: list[list[float] | None]

    @property
    def numeric(self) -> list[str]:
        """The names of the metrics that are numbers."""
        return [name for name in self.metrics if pd.api.types.is_numeric_dtype(self.table[name])]

    def outcomes(self, metric: str) -> dict[str, str]:
        """Returns the columns that hold the metric of other outcomes, by the outcome's name, such as base.

        They are "base/METRIC", where METRIC may begin with a task's own part, or of one dataset "DATASET/base/METRIC".
        Names of outcomes under further heads are "svm_head", of the adapted model, and "base/svm_head".
        """
        of, _, own = metric.rpartition("/")
        datasets = {part for dataset in self.table["dataset"].dropna() for part in str(dataset).split("+")}
        found = {}
        for column in self.numeric:
            outcome = ""
            if column.endswith(f"/{metric}"):
                outcome = column.removesuffix(f"/{metric}")
            elif of and column != metric and column.startswith(f"{of}/") and column.endswith(f"/{own}"):
                outcome = column.removeprefix(f"{of}/").removesuffix(f"/{own}")
            model, slash, last = outcome.partition("/")
            if outcome and model not in datasets and (not slash or ("/" not in last and last.endswith(HEAD))):
                found[outcome] = column
        return found

    def title(self, outcome: str) -> str:
        """Returns an outcome's title: "base (no adapter)", "svm head, same model" or "svm head, base (no adapter)"."""
        model, _, head = outcome.rpartition("/")
        if not head.endswith(HEAD):
            return self.titles.get(outcome, outcome)
        return f"{head_title(head)}, {self.titles.get(model, model) if model else 'same model'}"

    def valued(self, metric: str, beside: str | None = None) -> pd.DataFrame:
        """Returns the cells whose configuration is known, with columns `value`, `beside`, `parameters` and `seconds`.

        Args:
            metric: The column of the value.
            beside: That of a second number; None for none.

        Raises:
            UserError: No finished cell has that metric.
        """
        numeric = self.numeric
        if self.metrics and metric not in numeric:
            known = [name for name in numeric if "/" not in name]
            raise one_of("metric", metric, known, "or another column of cells.csv")
        cells = self.table[self.table["configuration"].notna()]
        numbers = {"value": metric, "beside": beside, "parameters": PARAMETERS, "seconds": SECONDS}
        columns = {own: cells[name].astype("float64") if name in numeric else np.nan for own, name in numbers.items()}
        return cells[["configuration", "name", "dataset", "seed", "state"]].astype(object).assign(**columns)


def is_further_head(outcome: str) -> bool:
    """Returns whether an outcome is the adapted model's under another head than the task's."""
    return outcome.endswith(HEAD) and "/" not in outcome


def head_title(name: str) -> str:
    """Returns the title of a further head.

    Example:
        >>> head_title("with_protocol_head")
        'with_protocol head'
    """
    return f"{name.removesuffix(HEAD)} head"


def as_table(rows: Sequence[Row]) -> Cells:
    """Returns rows as a table, in their order."""
    fixed = [*ABOUT, *LABELS, *CHOSEN]
    options = sorted({name for row in rows for name in row.options} - set(fixed))
    taken = {*fixed, *options}
    metrics = [name for name in dict.fromkeys(name for row in rows for name in row.metrics) if name not in taken]
    about = [{name: getattr(row, name) for name in (*ABOUT, *CHOSEN)} for row in rows]
    records = [row.metrics | row.options | row.labels | own for row, own in zip(rows, about, strict=True)]
    columns = {name: [record.get(name) for record in records] for name in (*fixed, *options, *metrics)}
    numbers = {*metrics, "stability"}
    table = pd.DataFrame(
        {name: _column(values, "float64" if name in numbers else "string") for name, values in columns.items()}
    )
    titles = TITLES | {name: title for row in rows for name, title in row.references.items()}
    curves, scores, resampled = ([getattr(row, name) for row in rows] for name in ("curves", "scores", "resampled"))
    return Cells(table, options, metrics, titles, curves, scores, resampled)


def _column(values: Sequence[Scalar], if_empty: str) -> "pd.Series[Any]":
    """Returns a column of one type, whole numbers and truth values with gaps too; of several types as text."""
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


def with_types(table: pd.DataFrame) -> pd.DataFrame:
    """Gives the columns of groups and comparisons types that do not depend on what the table holds."""
    text = {"configuration", "name", "kind", "dataset", "metric", "reference", "against", "unit", "lacks"}
    counts = ("datasets", "n", "expected", "failed", "missing", "settings", "compared", "uncompared")
    whole = {*counts, "wins", "ties", "losses"}
    types = {name: "string" if name in text else "Int64" if name in whole else "float64" for name in table}
    return table.astype(types | ({"pareto": "boolean"} if "pareto" in table else {}))


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns a table's rows as plain values, None for what is missing."""
    plain = table.astype(object).where(table.notna(), None)
    return [{str(name): value for name, value in record.items()} for record in plain.to_dict("records")]
