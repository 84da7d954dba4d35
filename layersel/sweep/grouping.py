"""Averages the configurations of a grid over the same seeds and datasets, and orders them."""

import pandas as pd

from layersel.sweep.averages import ALL_DATASETS, averages
from layersel.sweep.cells import Cells, is_further_head, with_types
from layersel.sweep.other_outcomes import other_outcomes
from layersel.sweep.splits import comparable, in_words
from layersel.sweep.statistics import pareto_front
from layersel.tasks.task import Metric

RANKED, INCOMPLETE, FURTHER_HEAD, BASELINE = "ranked", "incomplete", "further head", "baseline"
"""Kinds of groups: configurations that are ranked, those that lack values, their models under further heads, and
outcomes without the cell's adapter."""
GROUPS = (
    "configuration",
    "name",
    "kind",
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
    "beside",
    "parameters",
    "seconds",
    "pareto",
    "lacks",
)


def group(cells: Cells, metric: Metric) -> pd.DataFrame:
    """Averages each configuration over its seeds: a row over all datasets, and one for each dataset.

    A configuration is ranked if all of its cells have a value; ranked ones are averaged over the same splits (a dataset
    under a seed). Else one that lacks a hard dataset or an unlucky seed would have an advantage. The others are
    averaged over what they have, and `lacks` says what is missing. A split for which no configuration has a value
    counts for none. Groups of the kind `further head` are the ranked cells' adapted models under other heads than the
    task's, those of the kind `baseline` what else these cells have measured (the pretrained model, under each of these
    heads too, and references without a model), over the same splits.

    The value over all datasets is the mean of the datasets' means. `n` is the number of values in the mean, `datasets`
    that of their datasets; `expected`, `failed` and `missing` (running and interrupted ones among them) count all
    cells. `beside` (of `metric.beside`), `parameters` and `seconds` are means over the same cells as the
    value.

    Args:
        cells: The cells with their names, from `named`.
        metric: The metric that is compared.

    Returns:
        The columns `GROUPS`, the best ranked configuration first, then the incomplete ones, then further heads and
        baselines; `pareto` says which ranked ones no other one beats in mean, parameters and seconds, and in `beside`
        if all have it.

    Raises:
        UserError: No finished cell has that metric.
    """
    known = cells.valued(metric.name, metric.beside)
    found = comparable(known)
    ranked = dict(iter(found.cells.groupby("configuration", sort=False)))
    tables = []
    for configuration, own in known.groupby("configuration", sort=False):
        kind = RANKED if configuration in ranked else INCOMPLETE
        averaged = ranked.get(configuration, own.dropna(subset="value"))
        lacks = found.lacks[str(configuration)]
        table = averages(own, averaged).assign(configuration=configuration, name=own["name"].iloc[0], kind=kind)
        table["lacks"] = pd.Series([in_words(lacks, known)] if lacks else [], index=table.index[: bool(lacks)])
        tables.append(table)
    tables.sort(key=lambda table: _order(table, metric))
    for other in other_outcomes(cells, found.cells, metric.name):
        kind = FURTHER_HEAD if is_further_head(other.outcome) else BASELINE
        tables.append(averages(other.cells, other.cells).assign(name=other.name, kind=kind))
    groups = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    return _with_front(with_types(groups.assign(metric=metric.name).reindex(columns=list(GROUPS))), metric)


def _order(table: pd.DataFrame, metric: Metric) -> tuple[bool, float]:
    """Returns the key that sorts ranked configurations by their mean over all datasets, and others after them."""
    if table["kind"].iloc[0] != RANKED:
        return True, 0.0
    mean = float(table["mean"].iloc[0])
    return False, -mean if metric.higher_is_better else mean


def _with_front(table: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    overall = (table["dataset"] == ALL_DATASETS) & (table["kind"] == RANKED)
    costs = ["parameters", "seconds"] + (["beside"] if table.loc[overall, "beside"].notna().all() else [])
    values = table.loc[overall, ["mean", *costs]].to_numpy(dtype=float)
    table.loc[overall, "pareto"] = pareto_front(values, highest=[metric.higher_is_better, *(False for _ in costs)])
    return table
