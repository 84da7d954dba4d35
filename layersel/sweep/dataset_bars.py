"""The metric of each dataset without an adapter and under the best configurations, as a figure."""

import math

import pandas as pd
from matplotlib.figure import Figure

from layersel.sweep.grouping import BASELINE, RANKED
from layersel.tasks.task import Metric
from layersel.terminal.figures import COLOURS, grouped_bars


def dataset_bars(cells: pd.DataFrame, groups: pd.DataFrame, base: str, metric: Metric) -> Figure | None:
    """Draws a group of bars for each dataset: means over seeds, with standard deviations from two seeds on.

    The pretrained model comes first, then merged adapters, which are judged on each dataset, then the ranked
    configurations, the best one first, as many as there are colours.

    Args:
        cells: The cells with their names.
        groups: Their averages over seeds.
        base: The title of the pretrained model.
        metric: The metric that is compared.

    Returns:
        The figure; None where no dataset has a value.
    """
    merging = cells[(cells["merging"] != "none").fillna(value=False)]
    bases = groups[(groups["kind"] == BASELINE) & groups["name"].str.startswith(base)]
    first = str(bases["name"].iloc[0]) if len(bases) else base
    ranked = groups[groups["kind"] == RANKED]
    merged = [_of_datasets(merging, "", metric.name), _of_datasets(merging.assign(name=first), "base/", metric.name)]
    found = pd.concat([ranked, bases, *merged])
    plain = cells["dataset"].drop(merging.index).dropna()
    datasets = [*dict.fromkeys([*plain, *(part for name in merging["dataset"] for part in str(name).split("+"))])]
    found = found[found["dataset"].isin(datasets) & found["mean"].notna()]
    wanted = dict.fromkeys([first, *merging["name"], *ranked["name"]])
    names = [name for name in wanted if name in set(found["name"])][: len(COLOURS)]
    if not names:
        return None
    numbers = found.astype({"mean": "float64", "std": "float64"})
    by_dataset = numbers[numbers["name"].isin(names)].groupby(["dataset", "name"])[["mean", "std"]].first()
    values, errors = (
        {dataset: {name: by_dataset[number].get((dataset, name), math.nan) for name in names} for dataset in datasets}
        for number in ("mean", "std")
    )
    return grouped_bars(values, f"{metric.directed_title}, mean ± std over seeds", errors)


def _of_datasets(merging: pd.DataFrame, outcome: str, metric: str) -> pd.DataFrame:
    """Returns mean and standard deviation over the seeds of merging cells for each dataset that they are judged on."""
    tables = [pd.DataFrame(columns=["name", "dataset", "mean", "std"])]
    for several, own in merging.groupby("dataset"):
        for dataset in str(several).split("+"):
            if f"{dataset}/{outcome}{metric}" in own:
                values = own.drop_duplicates(["name", "seed"]).groupby("name")[f"{dataset}/{outcome}{metric}"]
                tables.append(values.agg(["mean", "std"]).reset_index().assign(dataset=dataset))
    return pd.concat(tables)
