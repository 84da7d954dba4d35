"""Averages the curves that cells have recorded, for each ranked configuration and for what stands beside these."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from layersel.sweep.cells import Cells
from layersel.sweep.comparing import DATASET, SPLIT
from layersel.sweep.grouping import BASELINE, RANKED
from layersel.sweep.other_outcomes import other_outcomes
from layersel.sweep.splits import comparable
from layersel.sweep.statistics import FEWEST
from layersel.tasks.curves import Curves
from layersel.tasks.task import Metric

ADAPTED = "adapted"
"""The outcome that is a cell's own."""
QUARTILES = (0.25, 0.75)
DIGITS = 5
COLUMNS = ("curve", "name", "kind", "n", "unit", "x", "mean", "low", "high")


@dataclass(frozen=True)
class MeanCurve:
    """The mean of some cells' curves: over datasets, of the means over their seeds.

    Attributes:
        name: The name of the configuration or the outcome.
        configuration: The configuration's hash; None of a baseline.
        kind: `ranked` or `baseline`.
        n: The number of cells.
        unit: What the band is of: the means of the datasets where there are `FEWEST` or more, else the cells.
        x: The points (K) that all of them have.
        mean: The mean at each point.
        low: The lower end of the band, the first quartile; NaN of a single curve.
        high: Its upper end, the third quartile.
    """

    name: str
    configuration: str | None
    kind: str
    n: int
    unit: str
    x: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


@dataclass(frozen=True)
class MeanCurves:
    """The mean curves of one name, which a figure shows.

    Attributes:
        title: What the figure is called.
        x_title: What the points are.
        y_title: What the values are.
        lines: The curves, those of the best configurations first.
    """

    title: str
    x_title: str
    y_title: str
    lines: list[MeanCurve]


def mean_curves(cells: Cells, metric: Metric, order: Sequence[str]) -> dict[str, MeanCurves]:
    """Returns the mean curves of ranked configurations and of baselines by name, over the cells that are compared.

    Args:
        cells: The cells with their names, from `named`.
        metric: The metric that is compared.
        order: The ranked configurations in the order in which they are shown.

    Raises:
        UserError: No finished cell has that metric.
    """
    compared = comparable(cells.valued(metric.name)).cells
    beside = other_outcomes(cells, compared, metric.name)
    found = {}
    for curve, first in {name: own for recorded in cells.curves for name, own in recorded.items()}.items():
        recorded = {place: own[curve] for place, own in enumerate(cells.curves) if curve in own}
        lines = []
        for configuration in order:
            part = compared[compared["configuration"] == configuration]
            lines += _mean(recorded, part, ADAPTED, str(part["name"].iloc[0]), configuration)
        for other in beside:
            lines += _mean(recorded, other.cells, other.outcome, other.name, None)
        if lines:
            found[curve] = MeanCurves(first.title, first.x_title, first.y_title, lines)
    return found


def as_frame(curves: Mapping[str, MeanCurves]) -> pd.DataFrame:
    """Returns the curves as a table, a row for each point, with the columns `COLUMNS`."""
    rows = [
        (curve, own.name, own.kind, own.n, own.unit, *point)
        for curve, several in curves.items()
        for own in several.lines
        for point in zip(own.x, own.mean, own.low, own.high, strict=True)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _mean(
    recorded: Mapping[int, Curves], some: pd.DataFrame, outcome: str, name: str, configuration: str | None
) -> list[MeanCurve]:
    """Returns the mean over those of some cells that have recorded a curve of the outcome; nothing if none has."""
    having = [place for place in some.index if place in recorded and outcome in recorded[place].y]
    if not having:
        return []
    curves = [pd.Series(recorded[place].y[outcome], recorded[place].x, dtype=float) for place in having]
    values = pd.concat(curves, axis=1, join="inner").T.set_axis(having)
    by_dataset = values.groupby(some.loc[having, "dataset"]).mean()
    unit, units = (DATASET, by_dataset) if len(by_dataset) >= FEWEST else (SPLIT, values)
    band = [units.quantile(share) if len(units) > 1 else units.iloc[0] * np.nan for share in QUARTILES]
    numbers = [series.round(DIGITS).tolist() for series in (by_dataset.mean(), *band)]
    kind = RANKED if configuration is not None else BASELINE
    return [
        MeanCurve(name, configuration, kind, len(having), unit, list(map(float, values.columns.to_numpy())), *numbers)
    ]
