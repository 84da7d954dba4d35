"""Compares the values of one factor, an option in which cells differ, where all other options are equal."""

from collections.abc import Iterable, Iterator, Mapping

import pandas as pd

from layersel.errors import one_of
from layersel.sweep.cells import Cells
from layersel.sweep.comparing import CONFIGURATION, Comparison, Contrast, Values, values_of
from layersel.sweep.configurations import NULL, configurations, follows, same
from layersel.sweep.layers.measured import layers_of
from layersel.tasks.task import Metric

SELECTION = "selection"
OTHER_NAMES = ("n", "rank")
"""Labels that repeat options of other names, selection.n and adapter.rank."""


def levels(cells: Cells, factor: str) -> dict[str, list[str]]:
    """Returns the configurations that have each value of a factor, by "FACTOR=VALUE".

    Raises:
        UserError: The cells do not differ in it.
    """
    options = configurations(cells)
    varying = [name for name in map(str, options) if name not in OTHER_NAMES and options[name].nunique() > 1]
    if factor not in varying:
        raise one_of("factor", factor, varying, "in these the cells differ")
    return {f"{factor}={value}": list(part.index) for value, part in options.groupby(factor, sort=False)}


def with_value(cells: Cells, metric: Metric, factor: str, reference: str) -> tuple[list[Comparison], list[str]]:
    """Returns the comparison of each value of a factor with a reference value, all other options being equal.

    Each setting of the other options gives a contrast. Options of the factor itself (`selection.kernel` of `selection`)
    are none of these where its value decides them, and count as equal where one side has none; others must agree, but
    for the steps that precision and pruning add to `order` and what they leave of `keep_model`. Of selections those
    cells are compared that adapt as many layers, or of which one adapts none: else budgets would be compared.

    Args:
        cells: The cells with their names, from `named`.
        metric: The metric that is compared.
        factor: The option, such as selection or task.head.
        reference: The value that others are compared with.

    Returns:
        The comparisons, and a line for each value without one.

    Raises:
        UserError: The cells do not differ in the factor, none has the reference value, or no cell has that metric.
    """
    found = levels(cells, factor)
    texts = [name.removeprefix(f"{factor}=") for name in found]
    chosen = next((f"{factor}={text}" for text in texts if same(text, reference)), None)
    if chosen is None:
        raise one_of(f"reference: {factor}", reference, texts)
    values, settings = values_of(cells, metric), _settings(cells, factor)
    counts = _layer_counts(cells) if factor == SELECTION else {}
    what = "in all else" if factor != SELECTION else "in all else and in the number of adapted layers"
    comparisons, lines = [], []
    for name in (own for own in found if own != chosen):
        alike = [(one, other) for one in found[name] for other in _alike(settings, factor, one, found[chosen])]
        contrasts = list(_contrasts(values, counts, alike))
        if contrasts:
            comparisons.append(Comparison(name, chosen, CONFIGURATION, contrasts))
        else:
            lines.append(f"no comparison of {name}: no cell with {chosen} agrees with one of its cells {what}")
    return comparisons, lines


def _contrasts(
    values: Mapping[str, Values], counts: Mapping[str, pd.Series], alike: Iterable[tuple[str, str]]
) -> Iterator[Contrast]:
    """Yields the values of configurations that are alike and share a dataset and seed.

    Of counted layers it yields those where there are as many, or none.
    """
    for one, other in alike:
        own, reference = values[one], values[other]
        if counts:
            mine, its = counts[one].align(counts[other], join="inner")
            unlike = mine.index[(mine != its) & (mine > 0) & (its > 0)]
            reference = reference[~reference.index.isin(unlike)]
        if own.index.isin(reference.index).any():
            yield own, reference


def _layer_counts(cells: Cells) -> dict[str, pd.Series]:
    """Returns the number of adapted layers of each configuration by dataset and seed."""
    known = cells.table[cells.table["configuration"].notna()].astype({"dataset": object, "seed": object})
    known = known.drop_duplicates(["configuration", "dataset", "seed"]).set_index(["dataset", "seed"])
    counts = known["layers"].fillna("").map(lambda layers: len(layers_of({"layers": layers})))
    return {str(own): part for own, part in counts.groupby(known["configuration"], sort=False)}


def _settings(cells: Cells, factor: str) -> pd.DataFrame:
    """Returns the options of each configuration, as text, that must agree where the factor differs.

    The labels that sum up others, n, rank and precision, are left out, and what follows from others.
    """
    options = configurations(cells)
    decided = {
        name
        for name in map(str, options)
        if name.startswith(f"{factor}.") and (options.groupby(factor)[name].nunique() == 1).all()
    }
    decided |= {name for name in map(str, options) if follows(options, name)}
    return options.drop(columns=[name for name in options if name in {factor, "precision", *OTHER_NAMES, *decided}])


def _alike(settings: pd.DataFrame, factor: str, one: str, others: list[str]) -> list[str]:
    """Returns those of some configurations that agree with one."""
    own, rest = settings.loc[one], settings.loc[others]
    lacks = ((rest == NULL) | (own == NULL)) & settings.columns.str.startswith(f"{factor}.")
    return list(rest.index[((rest == own) | lacks).all(axis=1)])
