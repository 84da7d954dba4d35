"""Measures how far scores of layers agree: in the order of the layers, and in the layers that are chosen."""

from itertools import combinations

import pandas as pd

from layersel.selection.agreement import kendall
from layersel.sweep.cells import Cells
from layersel.sweep.layers.measured import Measured, measured
from layersel.sweep.statistics import mean_of_means

COLUMNS = ("name", "other", "datasets", "compared", "tau", "overlap", "by_chance")


def agreement(cells: Cells) -> pd.DataFrame:
    """Compares every two scores that cells have measured on the same datasets, with the same model and seed.

    Returns:
        A row for each two: `tau` (Kendall's τ_b over the layers that both have a score for), `overlap` (the share of
        the chosen layers that they have in common, where both have chosen equally many) and the overlap `by_chance`
        (N/L); means over datasets of the means over seeds. `compared` is the number of datasets and seeds.
    """
    found = measured(cells)
    rows = []
    for name, other in combinations(found, 2):
        places = [place for place in found[name] if place in found[other]]
        rows.append(_row(name, other, [(place[0], found[name][place], found[other][place]) for place in places]))
    return pd.DataFrame([row for row in rows if row["compared"]], columns=COLUMNS)


def _row(name: str, other: str, both: list[tuple[str, Measured, Measured]]) -> dict[str, object]:
    taus: dict[str, list[float]] = {}
    overlaps: dict[str, list[float]] = {}
    chances: dict[str, list[float]] = {}
    for dataset, one, two in both:
        if len(one.values_L) != len(two.values_L):
            continue
        taus.setdefault(dataset, []).append(kendall(one.values_L, two.values_L))
        for n in sorted((one.chosen.keys() & two.chosen.keys()) - {0, len(one.values_L)}):
            overlaps.setdefault(dataset, []).append(len(one.chosen[n] & two.chosen[n]) / n)
            chances.setdefault(dataset, []).append(n / len(one.values_L))
    means = [mean_of_means(list(own.values())) for own in (taus, overlaps, chances)]
    numbers = [len(taus), sum(map(len, taus.values())), *means]
    return dict(zip(COLUMNS, [name, other, *numbers], strict=True))
