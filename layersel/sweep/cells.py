"""The cells as one table, a row each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from layersel.sweep.reading import LABELS, Row, Scalar, as_text

ABOUT = ("cell", "state", "error", "overrides", "variant", "configuration")
CHOSEN = ("layers", "n_layers")


@dataclass(frozen=True)
class Cells:
    """Cells in any state.

    Attributes:
        table: A row for each cell: the columns `ABOUT`, `LABELS`, `CHOSEN`, the options, the metrics.
        options: The names of the columns that are options.
        metrics: The names of the columns that are metrics, which are empty for a cell that has not finished.
    """

    table: pd.DataFrame
    options: list[str]
    metrics: list[str]


def as_table(rows: Sequence[Row]) -> Cells:
    """Returns rows as a table, in their order."""
    fixed = [*ABOUT, *LABELS, *CHOSEN]
    options = sorted({name for row in rows for name in row.options} - set(fixed))
    taken = {*fixed, *options}
    metrics = [name for name in dict.fromkeys(name for row in rows for name in row.metrics) if name not in taken]
    about = [{name: getattr(row, name) for name in (*ABOUT, *CHOSEN)} for row in rows]
    records = [row.metrics | row.options | row.labels | own for row, own in zip(rows, about, strict=True)]
    columns = {name: [record.get(name) for record in records] for name in (*fixed, *options, *metrics)}
    table = pd.DataFrame(
        {name: _column(values, "float64" if name in metrics else "string") for name, values in columns.items()}
    )
    return Cells(table, options, metrics)


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
