"""The layers' scores that cells have measured, by what they are scores of, and the layers that were chosen by them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from layersel.selection.score import BUDGET
from layersel.sweep.cells import Cells, records
from layersel.sweep.configurations import configurations, names
from layersel.sweep.statistics import Floats

# Shapes: L layers.


@dataclass(frozen=True)
class Measured:
    """The scores of one way to score layers, on one dataset, of one model and under one seed.

    Attributes:
        values_L: The scores; NaN where a layer has none.
        chosen: The layers that cells have chosen by them, by their number.
    """

    values_L: Floats
    chosen: dict[int, frozenset[int]]


Place = tuple[str, str, Any]
"""A dataset, a model and a seed."""


MANUAL = "manual"


def score_names(cells: Cells) -> "pd.Series[Any]":
    """Returns what each cell scores layers by, such as "selection=cka", whatever the budget; NaN where it is unknown.

    The options of the scores are named where they differ, but for the number of a choice at random, which is a draw.
    """
    options = configurations(cells)
    left_out = {f"selection.{name}" for name in (*BUDGET, "choice")}
    own = options[[name for name in map(str, options) if name.startswith("selection.") and name not in left_out]]
    found = {}
    for score, alike in own.groupby(options["selection"], sort=False):
        for configuration, name in names(alike).items():
            plain = name.partition(" configuration=")[0]
            found[configuration] = f"selection={score}" + ("" if plain == "all" else f" {plain}")
    return cells.table["configuration"].map(found, na_action="ignore")


def measured(cells: Cells) -> dict[str, dict[Place, Measured]]:
    """Returns the measured scores by their names and places.

    Cells that differ in something else, such as the rank, share their scores; of several that differ all the same, as
    those of gradients do between learning rates, the first counts.
    """
    found: dict[str, dict[Place, Measured]] = {}
    for name, scores, row in zip(score_names(cells), cells.scores, records(cells.table), strict=True):
        if scores is None or pd.isna(name):
            continue
        places = found.setdefault(name, {})
        place = (str(row["dataset"]), str(row["model"]), row["seed"])
        own = places.setdefault(place, Measured(np.array(scores, dtype=float), {}))
        layers = layers_of(row)
        own.chosen.setdefault(len(layers), layers)
    return found


def is_single(row: Mapping[str, Any]) -> bool:
    """Returns whether a cell that has chosen layers names one itself, to tell what it is worth alone."""
    return bool(row["selection"] == MANUAL) and "," not in str(row["layers"])


def layers_of(row: Mapping[str, Any]) -> frozenset[int]:
    """Returns the layers that a cell has chosen, by its row of the table of cells."""
    return frozenset(map(int, filter(None, (row["layers"] or "").split(","))))
