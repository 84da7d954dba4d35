"""The selection as the values that a dashboard compares between runs."""

import math

from layersel.selection.cost import relative_cost
from layersel.selection.selection import CHOSEN, RESAMPLED, SCORE, Selection

LAYER = "layer"


def layer_curves(selection: Selection) -> list[dict[str, float]]:
    """Returns the values of each layer by their names: whether it is chosen, 1 or 0, and what was measured of it."""
    columns, rows = selection.table()
    numbers = [name for name in columns if name in (SCORE, CHOSEN, RESAMPLED)]
    tables = [dict(zip(columns, row, strict=True)) for row in rows]
    return [
        {LAYER: own[LAYER]} | {f"{LAYER}/{name}": float(own[name]) for name in numbers if math.isfinite(own[name])}
        for own in tables
    ]


def selection_summary(selection: Selection) -> dict[str, float]:
    """Returns the stability and the cost of the choice, where they are known, by the names of a run's summary."""
    stability = None if selection.stability is None else selection.stability.rank_correlation
    values = {"selection/stability": stability, "selection/cost": relative_cost(selection)}
    return {name: value for name, value in values.items() if value is not None and math.isfinite(value)}
