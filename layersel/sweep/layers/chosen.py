"""Which layers each way to score them chose, how often, for each dataset and budget."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from layersel.selection.score import BUDGET
from layersel.sweep.averages import ALL_DATASETS
from layersel.sweep.cells import Cells, records
from layersel.sweep.layers.measured import is_single, layers_of, score_names
from layersel.sweep.reading import as_text

KEYS = ["name", "model", "n_layers", "budget"]
MEANS = ("chosen", "score", "rank", "resampled", "stability", "regret", "tau")
COLUMNS = (*KEYS, "dataset", "cells", "seeds", "layer", *MEANS)


def chosen_layers(cells: Cells, judged: pd.DataFrame) -> pd.DataFrame:
    """Tells of each layer how often, and how surely, each score chose it.

    Args:
        cells: The cells.
        judged: What an oracle says of their choices, from `layersel.sweep.layers.oracle.judged`.

    Returns:
        A row for each score, budget, dataset and layer, and beside several datasets for all of them. `chosen` is the
        share of the `cells` that chose the layer; `score` is its mean score and `rank` its mean place by it (1 = the
        highest; equal ones share theirs), where it was measured; `resampled` is the mean share of the bootstrap samples
        of the probe in which it was chosen. The same in all rows of a choice are `stability`, the mean rank correlation
        of the scores by these samples with those by the whole probe, and `regret` and `tau`, those of an oracle. Of all
        datasets the values are means over the datasets that have one. Cells that choose no layer or all are left out,
        and those in which a layer was trained alone for an oracle.
    """
    each = pd.DataFrame(_rows(cells, judged), columns=["place", "seed", *KEYS, "dataset", "layer", *MEANS])
    each = each.astype(dict.fromkeys(MEANS, "float64"))
    keys, means = [*KEYS, "dataset", "layer"], {name: (name, "mean") for name in MEANS}
    of_each = each.groupby(keys, sort=False, dropna=False).agg(
        cells=("place", "nunique"), seeds=("seed", "nunique"), **means
    )
    of_each = of_each.reset_index()
    of_all = of_each.groupby([*KEYS, "layer"], sort=False).agg(
        datasets=("dataset", "nunique"), cells=("cells", "sum"), seeds=("seeds", "max"), **means
    )
    of_all = of_all[of_all["datasets"] > 1].reset_index().assign(dataset=ALL_DATASETS)
    return pd.concat([of_all[list(COLUMNS)], of_each[list(COLUMNS)]], ignore_index=True)


def _rows(cells: Cells, judged: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yields a row for each layer of each cell that chose some of them."""
    for place, (name, row) in enumerate(zip(score_names(cells), records(cells.table), strict=True)):
        if row["layers"] is None or is_single(row):
            continue
        depth, layers, scores, resampled = row["n_layers"], layers_of(row), cells.scores[place], cells.resampled[place]
        if not 0 < len(layers) < depth:
            continue
        own = {"place": place, "name": name, "budget": _budget(row), "stability": row["stability"]}
        own |= {column: row[column] for column in ("model", "n_layers", "dataset", "seed")}
        own |= {column: judged.at[place, column] if place in judged.index else np.nan for column in ("regret", "tau")}
        ranks = pd.Series(scores, dtype="float64", index=range(depth)).rank(ascending=False)
        for layer in range(depth):
            yield own | {
                "layer": layer,
                "chosen": layer in layers,
                "score": None if scores is None else scores[layer],
                "rank": ranks[layer],
                "resampled": None if resampled is None else resampled[layer],
            }


def _budget(row: dict[str, Any]) -> str:
    """Returns the options that decided how many layers a cell chose, such as "n=3"."""
    given = {name: row.get(f"selection.{name}") for name in BUDGET}
    return " ".join(f"{name}={as_text(value)}" for name, value in given.items() if value is not None)
