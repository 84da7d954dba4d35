"""Compares the configurations of a grid: over their seeds and datasets, and against a reference."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from layersel.errors import one_of
from layersel.runs.folder import FAILED, FINISHED
from layersel.sweep.cells import Cells
from layersel.sweep.reading import DAMAGED
from layersel.sweep.statistics import (
    Floats,
    bootstrap_interval,
    deviation,
    holm,
    mean_of_means,
    pareto_front,
    signed_rank_p,
    wins_ties_losses,
)
from layersel.tasks.task import Metric

ALL_DATASETS = "all datasets"
PARAMETERS, SECONDS = "parameters/trainable", "seconds/total"
GROUPS = (
    "configuration",
    "name",
    "dataset",
    "metric",
    "datasets",
    "n",
    "expected",
    "failed",
    "missing",
    "mean",
    "std",
    "low",
    "high",
    "parameters",
    "seconds",
    "pareto",
)
COMPARISONS = (
    "name",
    "reference",
    "metric",
    "compared",
    "uncompared",
    "difference",
    "std",
    "low",
    "high",
    "wins",
    "ties",
    "losses",
    "p",
    "p_holm",
)
SEED = 0
"""The seed of every interval: the same values have the same interval in whatever table."""


def group(cells: Cells, metric: Metric) -> pd.DataFrame:
    """Averages each configuration over its seeds: a row over all datasets, and one for each dataset.

    The value over all datasets is the mean of the datasets' means, of those datasets (`datasets` many) in which every
    configuration that has finished anywhere has a value: else a configuration that lacks a hard dataset would have an
    advantage. `n` is the number of values in the mean; `expected`, `failed` and `missing` (running and interrupted ones
    among them) count all cells, over all datasets too. `parameters` and `seconds` are means over the same datasets.

    Args:
        cells: The cells with their names, from `named`.
        metric: The metric that is compared.

    Returns:
        The columns `GROUPS`; `pareto` says which configurations no other one beats in mean, parameters and seconds.

    Raises:
        UserError: No finished cell has that metric.
    """
    known = _valued(cells, metric.name)
    parts = dict(iter(known.groupby(["configuration", "dataset"], sort=False)))
    common = _common_datasets(known)
    rows = []
    for configuration, own in known.groupby("configuration", sort=False):
        datasets = [parts[configuration, dataset] for dataset in own["dataset"].unique()]
        shared = [part for part in datasets if part["dataset"].iloc[0] in common]
        rows.append(_group(own, shared, ALL_DATASETS, metric.name))
        rows += [_group(part, [part], part["dataset"].iloc[0], metric.name) for part in datasets]
    return _typed(_with_front(pd.DataFrame(rows, columns=GROUPS), metric))


def compare(cells: Cells, metric: Metric, references: dict[str, str]) -> pd.DataFrame:
    """Compares each configuration with its reference: differences over the same datasets and seeds.

    A difference above 0 is a win, where lower is better one below 0. `uncompared` are the values of either that have no
    counterpart. `p` is Wilcoxon's, and `p_holm` is corrected for all comparisons of the table.

    Args:
        cells: The cells with their names, from `named`.
        metric: The metric that is compared.
        references: The reference by configuration, from `references`.

    Returns:
        The columns `COMPARISONS`.

    Raises:
        UserError: No finished cell has that metric.
    """
    known = _valued(cells, metric.name).dropna(subset="value").set_index(["dataset", "seed"])
    values = dict(iter(known.groupby("configuration", sort=False)["value"]))
    names = dict(zip(cells.table["configuration"], cells.table["name"], strict=True))
    none = known["value"].iloc[:0]
    rows = [
        {"name": names[own], "reference": names[other], "metric": metric.name}
        | _difference(values.get(own, none), values.get(other, none), metric)
        for own, other in references.items()
    ]
    table = pd.DataFrame(rows, columns=COMPARISONS)
    table["p_holm"] = holm(table["p"].to_numpy(dtype=float))
    return _typed(table)


def _valued(cells: Cells, metric: str) -> pd.DataFrame:
    """Returns the cells whose configuration is known, with the metric as `value`."""
    numeric = [name for name in cells.metrics if pd.api.types.is_numeric_dtype(cells.table[name])]
    if cells.metrics and metric not in numeric:
        raise one_of("metric", metric, [name for name in numeric if "/" not in name], "or another column of cells.csv")
    known = cells.table[cells.table["configuration"].notna()]
    numbers = {"value": metric, "parameters": PARAMETERS, "seconds": SECONDS}
    columns = {own: known[name].astype("float64") if name in numeric else np.nan for own, name in numbers.items()}
    return known[["configuration", "name", "dataset", "seed", "state"]].astype(object).assign(**columns)


def _common_datasets(known: pd.DataFrame) -> set[str]:
    finished = known.dropna(subset="value")
    having = finished.groupby("dataset")["configuration"].nunique()
    return set(having.index[having == finished["configuration"].nunique()])


def _group(own: pd.DataFrame, datasets: Sequence[pd.DataFrame], dataset: str, metric: str) -> dict[str, Any]:
    """Returns a row: counts of all `own` cells, numbers of those in `datasets`."""
    samples = [values for part in datasets if len(values := _finite(part, "value"))]
    low, high = bootstrap_interval(samples, np.random.default_rng(SEED))
    failed = int(own["state"].isin([FAILED, DAMAGED]).sum())
    return {
        "configuration": own["configuration"].iloc[0],
        "name": own["name"].iloc[0],
        "dataset": dataset,
        "metric": metric,
        "datasets": len(samples),
        "n": sum(map(len, samples)),
        "expected": len(own),
        "failed": failed,
        "missing": len(own) - failed - int((own["state"] == FINISHED).sum()),
        "mean": mean_of_means(samples),
        "std": deviation(samples),
        "low": low,
        "high": high,
        "parameters": mean_of_means([_finite(part, "parameters") for part in datasets]),
        "seconds": mean_of_means([_finite(part, "seconds") for part in datasets]),
    }


def _finite(part: pd.DataFrame, column: str) -> Floats:
    return part[column].dropna().to_numpy(dtype=float)


def _with_front(table: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    overall = table["dataset"] == ALL_DATASETS
    table["pareto"] = pd.Series(pd.NA, index=table.index, dtype="boolean")
    values = table.loc[overall, ["mean", "parameters", "seconds"]].to_numpy(dtype=float)
    table.loc[overall, "pareto"] = pareto_front(values, highest=[metric.higher_is_better, False, False])
    return table


def _difference(own: "pd.Series[float]", other: "pd.Series[float]", metric: Metric) -> dict[str, Any]:
    both = pd.concat([series[~series.index.duplicated(keep=False)] for series in (own, other)], axis=1, join="inner")
    differences = (both.iloc[:, 0] - both.iloc[:, 1]).to_numpy(dtype=float)
    samples = [differences] if len(differences) else []
    low, high = bootstrap_interval(samples, np.random.default_rng(SEED))
    wins, ties, losses = wins_ties_losses(differences if metric.higher_is_better else -differences)
    return {
        "compared": len(differences),
        "uncompared": len(own) + len(other) - 2 * len(differences),
        "difference": mean_of_means(samples),
        "std": deviation(samples),
        "low": low,
        "high": high,
        "wins": wins,
        "ties": ties,
        "losses": losses,
        "p": signed_rank_p(differences),
    }


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """Gives the columns types that do not depend on what the table holds."""
    text = {"configuration", "name", "dataset", "metric", "reference"}
    whole = {"datasets", "n", "expected", "failed", "missing", "compared", "uncompared", "wins", "ties", "losses"}
    types = {name: "string" if name in text else "Int64" if name in whole else "float64" for name in table}
    return table.astype(types | ({"pareto": "boolean"} if "pareto" in table else {}))
