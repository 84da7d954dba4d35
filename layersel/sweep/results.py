"""The means of a grid as a table for a paper."""

import pandas as pd

from layersel.sweep.averages import ALL_DATASETS
from layersel.sweep.cells import records
from layersel.sweep.grouping import INCOMPLETE
from layersel.sweep.markdown import markdown
from layersel.tasks.task import Metric
from layersel.terminal.tables import format_number


def results(groups: pd.DataFrame, metric: Metric) -> str:
    """Returns the means of each dataset in Markdown: a row for each configuration, further head and baseline.

    Behind `±` stands the standard deviation over the seeds. The best mean of a column, as it is rounded, is bold.
    Configurations that lack values say so, and are never the best.
    """
    datasets = sorted(groups["dataset"].unique(), key=lambda dataset: (dataset != ALL_DATASETS, dataset))
    complete = groups[groups["kind"] != INCOMPLETE].groupby("dataset")["mean"]
    best = (complete.max() if metric.higher_is_better else complete.min()).map(format_number)
    rows: dict[str, dict[str, str]] = {}
    for row in records(groups):
        incomplete = row["kind"] == INCOMPLETE
        mean, std = format_number(row["mean"]), format_number(row["std"])
        if not incomplete and row["mean"] is not None and mean == best[row["dataset"]]:
            mean = f"**{mean}**"
        name = f"{row['name']} (lacks values)" if incomplete else row["name"]
        rows.setdefault(name, {})[row["dataset"]] = mean if row["std"] is None else f"{mean} ± {std}"
    cells = [[name, *(own.get(dataset, "-") for dataset in datasets)] for name, own in rows.items()]
    return markdown([metric.directed_title, *datasets], cells)
