"""The layers' scores that cells have measured, by what they are scores of."""

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


def score_names(cells: Cells) -> "pd.Series[Any]":
    """Returns what each cell scores layers by, such as "selection=cka", whatever the budget; NaN where it is unknown.

    The options of the scores are named where they differ.
    """
    options = configurations(cells)
    own = [name for name in map(str, options) if name == "selection" or name.startswith("selection.")]
    budget = {f"selection.{name}" for name in BUDGET}
    known = names(options[[name for name in own if name not in budget]])
    plain = {configuration: name.partition(" configuration=")[0] for configuration, name in known.items()}
    return cells.table["configuration"].map(plain, na_action="ignore")


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


def layers_of(row: Mapping[str, Any]) -> frozenset[int]:
    """Returns the layers that a cell has chosen, by its row of the table of cells."""
    return frozenset(map(int, filter(None, (row["layers"] or "").split(","))))
