"""What cells measure beside their metric: further heads, the pretrained model, and references without a model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from layersel.sweep.cells import Cells
from layersel.sweep.configurations import configurations, names
from layersel.sweep.splits import split_of


@dataclass(frozen=True)
class OtherOutcome:
    """What some cells have measured of another outcome than the adapted model under the task's head.

    Attributes:
        outcome: The outcome's name, such as base or svm_head.
        name: Its title, and the options that tell it from the same outcome of other cells.
        cells: A cell for each dataset and seed, with its `value`.
    """

    outcome: str
    name: str
    cells: pd.DataFrame


def other_outcomes(cells: Cells, ranked: pd.DataFrame, metric: str) -> list[OtherOutcome]:
    """Returns what the ranked cells have measured of other outcomes.

    Configurations that agree on such an outcome (with one model the pretrained one is the same in all cells) share it;
    of others each has its own, with the options in which they differ.

    Args:
        cells: All cells.
        ranked: Those over which ranked configurations are averaged, from `comparable`.
        metric: The metric that is compared.
    """
    found = []
    for outcome, column in cells.outcomes(metric).items():
        unknown = dict.fromkeys(("beside", "parameters", "seconds"), np.nan)
        measured = ranked.assign(value=cells.table[column].astype("float64"), **unknown)
        alike = _alike(measured)
        for members, name in zip(alike, _names(cells, outcome, alike), strict=True):
            once = measured[measured["configuration"].isin(members)].drop_duplicates(["dataset", "seed"])
            found.append(OtherOutcome(outcome, name, once))
    return found


def _alike(measured: pd.DataFrame) -> list[list[str]]:
    """Returns the configurations with the same value for each split in lists; those that lack a value are in none."""
    values = measured.assign(split=split_of(measured)).groupby(["configuration", "split"], sort=False)["value"].mean()
    table = values.unstack("split").dropna().round(6)  # a value is the same on all machines but for rounding
    return [list(map(str, rows.index)) for _, rows in table.groupby(list(table), sort=False)] if len(table) else []


def _names(cells: Cells, outcome: str, groups: Sequence[Sequence[str]]) -> list[str]:
    """Returns a name for each group of configurations, of the options that tell it from the others."""
    title = cells.title(outcome)
    if len(groups) < 2:
        return [title] * len(groups)
    options = configurations(cells)
    parts = [options.loc[list(members)] for members in groups]
    agreed = [name for name in options if all(part[name].nunique() == 1 for part in parts)]
    firsts = pd.concat([part.iloc[:1][agreed] for part in parts])
    return [f"{title}, {name}" for name in names(firsts).values()]
