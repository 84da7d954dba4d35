"""How near choices of layers come to an oracle: the layers that are worth most when each is trained alone.

A cell with selection=manual and one layer tells what that layer is worth; those of all layers, with everything else
equal, make an oracle, which chooses the N best of them. Layers need not add up, so that the layers of an oracle may be
trained together and lose to others: it judges scores by what single layers do.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from layersel.selection.agreement import kendall
from layersel.sweep.averages import SEED
from layersel.sweep.cells import Cells, records
from layersel.sweep.comparing import unit_samples
from layersel.sweep.layers.measured import is_single, layers_of
from layersel.sweep.reading import as_text
from layersel.sweep.statistics import Floats, mean_interval, mean_of_means
from layersel.tasks.task import Metric

# Shapes: L layers.

JUDGED = ("name", "dataset", "seed", "n", "regret", "share", "tau", "overlap")
COLUMNS = ("name", "n", "datasets", "compared", "unit", "regret", "low", "high", "share", "tau", "overlap")

Row = Mapping[str, Any]
"""A cell's row of the table of cells."""
Key = tuple[str, ...]
"""What must agree: dataset, seed, and all options but those of the selection."""


@dataclass(frozen=True)
class Oracle:
    """What each layer is worth alone, on one dataset under one seed and with the same options.

    Attributes:
        worth_L: The metric of each layer's cell, turned so that higher is better.
    """

    worth_L: Floats

    def best(self, n: int) -> frozenset[int]:
        """Returns the n layers that are worth most; of equal ones the later."""
        order = sorted(range(len(self.worth_L)), key=lambda layer: (-self.worth_L[layer], -layer))
        return frozenset(order[:n])

    def regret(self, layers: frozenset[int]) -> float:
        """Computes how much less the layers are worth than as many of the best, on average over the layers, ≥ 0."""
        best = self.best(len(layers))
        return float(self.worth_L[sorted(best)].mean() - self.worth_L[sorted(layers)].mean())

    def regret_of_random(self, n: int) -> float:
        """Computes the expected regret of n layers drawn at random."""
        return float(self.worth_L[sorted(self.best(n))].mean() - self.worth_L.mean())


def judged(cells: Cells, metric: Metric) -> tuple[pd.DataFrame, list[str]]:
    """Compares the choices of cells with the oracles of their datasets and seeds.

    Args:
        cells: The cells with their names, from `named`.
        metric: What the layers are worth.

    Returns:
        A row for each cell that chooses some of the layers and has an oracle, named by its place among the cells, and a
        line for each incomplete oracle. `regret` is in units of the metric; `share` is its ratio to that of random
        layers (0 as the oracle, 1 as chance), `tau` Kendall's τ_b of the scores, where they are measured, with what the
        layers are worth, and `overlap` the share of the oracle's layers that were chosen.

    Raises:
        UserError: No finished cell has that metric.
    """
    chosen = list(_with_keys(cells))
    oracles, lines = _oracles(chosen, cells.valued(metric.name)["value"], metric)
    found: dict[int, dict[str, object]] = {}
    for key, place, row in chosen:
        oracle, layers = oracles.get(key), layers_of(row)
        if oracle is None or is_single(row) or not 0 < len(layers) < len(oracle.worth_L):
            continue
        regret, scores = oracle.regret(layers), cells.scores[place]
        chance = oracle.regret_of_random(len(layers))
        found[place] = {
            "name": row["name"],
            "dataset": row["dataset"],
            "seed": row["seed"],
            "n": len(layers),
            "regret": regret,
            "share": regret / chance if chance > 0 else np.nan,
            "tau": np.nan if scores is None else kendall(np.array(scores, dtype=float), oracle.worth_L),
            "overlap": len(layers & oracle.best(len(layers))) / len(layers),
        }
    return pd.DataFrame.from_dict(found, orient="index", columns=list(JUDGED)), lines


def regrets(found: pd.DataFrame) -> pd.DataFrame:
    """Returns a row for each configuration of what `judged` found, the least regret first.

    `regret` has its 95 % interval over the `unit`; all are means over datasets of the means over seeds.
    """
    rows = [_row(str(name), own) for name, own in found.groupby("name", sort=False)]
    return pd.DataFrame(rows, columns=COLUMNS).sort_values("regret", kind="stable", ignore_index=True)


def _row(name: str, own: pd.DataFrame) -> dict[str, object]:
    samples, unit = unit_samples(own.set_index(["dataset", "seed"])["regret"])
    low, high = mean_interval(samples, np.random.default_rng(SEED))
    means = {
        column: mean_of_means([part.to_numpy() for _, part in own.groupby("dataset")[column]])
        for column in ("regret", "share", "tau", "overlap")
    }
    counts = {"n": own["n"].max(), "datasets": own["dataset"].nunique(), "compared": len(own)}
    return {"name": name, "unit": unit, "low": low, "high": high} | counts | means


def _oracles(
    chosen: Sequence[tuple[Key, int, Row]], values: "pd.Series[Any]", metric: Metric
) -> tuple[dict[Key, Oracle], list[str]]:
    alone: dict[Key, dict[int, float]] = {}
    depths: dict[Key, int] = {}
    for key, place, row in chosen:
        if is_single(row) and pd.notna(values.get(place)):
            (layer,) = layers_of(row)
            alone.setdefault(key, {})[layer] = float(values[place])
            depths[key] = int(row["n_layers"])
    whole, lines = {}, []
    for key, own in alone.items():
        missing = sorted(set(range(depths[key])) - set(own))
        if missing:
            lines.append(f"no oracle of {key[0]}, seed {key[1]}: the cells of single layers {missing} are missing")
        else:
            values_L = np.array([own[layer] for layer in range(depths[key])])
            whole[key] = Oracle(values_L if metric.higher_is_better else -values_L)
    return whole, lines


def _with_keys(cells: Cells) -> Iterator[tuple[Key, int, Row]]:
    """Yields what must agree, the place and the row of each cell that has chosen layers."""
    others = [name for name in cells.options if name != "selection" and not name.startswith("selection.")]
    for place, row in enumerate(records(cells.table)):
        if row["layers"] is not None:
            yield tuple(as_text(row[name]) for name in ("dataset", "seed", "model", *others)), place, row
