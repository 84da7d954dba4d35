"""Averages of cells over their seeds, for each dataset and over all of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from layersel.runs.folder import FAILED, FINISHED
from layersel.sweep.reading import DAMAGED
from layersel.sweep.statistics import Floats, deviation, mean_interval, mean_of_means

ALL_DATASETS = "all datasets"
SEED = 0
"""The seed of every interval: the same values have the same interval in whatever table."""


def averages(own: pd.DataFrame, averaged: pd.DataFrame) -> pd.DataFrame:
    """Returns a row over all datasets, and one for each dataset.

    Args:
        own: All cells of a configuration, which are counted.
        averaged: Those of them that are averaged. A dataset with none of these, as other configurations lack it, has
            the mean of all of its cells.
    """
    rows = [_group(own, [part for _, part in averaged.groupby("dataset", sort=False)], ALL_DATASETS)]
    for dataset, part in own.groupby("dataset", sort=False):
        within = averaged[averaged["dataset"] == dataset]
        rows.append(_group(part, [within if len(within) else part], str(dataset)))
    return pd.DataFrame(rows)


def _group(own: pd.DataFrame, datasets: Sequence[pd.DataFrame], dataset: str) -> dict[str, Any]:
    """Returns a row: counts of all `own` cells, numbers of those in `datasets`."""
    samples = [values for part in datasets if len(values := _finite(part, "value"))]
    low, high = mean_interval(samples, np.random.default_rng(SEED))
    failed = int(own["state"].isin([FAILED, DAMAGED]).sum())
    return {
        "dataset": dataset,
        "datasets": len(samples),
        "n": sum(map(len, samples)),
        "expected": len(own),
        "failed": failed,
        "missing": len(own) - failed - int((own["state"] == FINISHED).sum()),
        "mean": mean_of_means(samples),
        "std": deviation(samples),
        "low": low,
        "high": high,
        "beside": mean_of_means([_finite(part, "beside") for part in datasets]),
        "parameters": mean_of_means([_finite(part, "parameters") for part in datasets]),
        "seconds": mean_of_means([_finite(part, "seconds") for part in datasets]),
    }


def _finite(part: pd.DataFrame, column: str) -> Floats:
    return part[column].dropna().to_numpy(dtype=float)
