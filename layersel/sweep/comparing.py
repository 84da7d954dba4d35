"""Compares each configuration of a grid with a reference, over the same datasets and seeds."""

from typing import Any

import numpy as np
import pandas as pd

from layersel.sweep.averages import SEED
from layersel.sweep.cells import Cells, with_types
from layersel.sweep.statistics import (
    bootstrap_interval,
    deviation,
    holm,
    mean_of_means,
    signed_rank_p,
    wins_ties_losses,
)
from layersel.tasks.task import Metric

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
    known = cells.valued(metric.name).dropna(subset="value").set_index(["dataset", "seed"])
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
    return with_types(table)


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
