"""Compares the values of one factor, an option in which cells differ, where all other options are equal."""

import pandas as pd

from layersel.errors import one_of
from layersel.sweep.cells import Cells
from layersel.sweep.comparing import CONFIGURATION, Comparison, values_of
from layersel.sweep.configurations import NULL, configurations, follows, same
from layersel.tasks.task import Metric

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
    for the steps that precision and pruning add to `order` and what they leave of `keep_model`.

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
    comparisons, lines = [], []
    for name in (own for own in found if own != chosen):
        alike = [(one, other) for one in found[name] for other in _alike(settings, factor, one, found[chosen])]
        if alike:
            contrasts = [(values[one], values[other]) for one, other in alike]
            comparisons.append(Comparison(name, chosen, CONFIGURATION, contrasts))
        else:
            lines.append(f"no comparison of {name}: no cell with {chosen} agrees with one of its cells in all else")
    return comparisons, lines


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
