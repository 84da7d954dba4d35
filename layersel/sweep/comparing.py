"""Compares values of the same datasets and seeds: those of configurations with those of references."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from layersel.sweep.averages import SEED
from layersel.sweep.cells import Cells, head_title, with_types
from layersel.sweep.splits import Split, among, splits_of
from layersel.sweep.statistics import (
    FEWEST,
    Floats,
    deviation,
    holm,
    mean_interval,
    mean_of_means,
    signed_rank_p,
    wins_ties_losses,
)
from layersel.tasks.task import Metric

COMPARISONS = (
    "name",
    "reference",
    "against",
    "metric",
    "settings",
    "compared",
    "uncompared",
    "datasets",
    "mean",
    "difference",
    "unit",
    "std",
    "low",
    "high",
    "wins",
    "ties",
    "losses",
    "p",
    "p_holm",
)
CONFIGURATION = "configuration"
"""What `against` says of a reference that is a configuration; else it is the name of an outcome, such as base."""
DATASET, SPLIT = "dataset", "dataset and seed"
"""The units of a comparison."""

Values = pd.Series
"""Values of the metric by dataset and seed."""
Contrast = tuple[Values, Values]
"""What is compared, and its reference."""


@dataclass(frozen=True)
class Comparison:
    """What is compared with what.

    Attributes:
        name: What is compared.
        reference: What it is compared with.
        against: The kind of the reference; Holm's correction is for all comparisons with one kind.
        contrasts: The values of either, where all else is equal. Of several, each under other options, the differences
            are averaged, as `balanced` says.
    """

    name: str
    reference: str
    against: str
    contrasts: Sequence[Contrast]


def with_references(cells: Cells, metric: Metric, references: dict[str, str]) -> Iterator[Comparison]:
    """Yields each configuration's comparison with its reference.

    Args:
        cells: The cells with their names, from `named`.
        metric: The metric that is compared.
        references: The reference by configuration, from `references`.

    Raises:
        UserError: No finished cell has that metric.
    """
    values, names = values_of(cells, metric), names_of(cells)
    for own, other in references.items():
        yield Comparison(names[own], names[other], CONFIGURATION, [(values[own], values[other])])


def with_outcomes(cells: Cells, metric: Metric, several: Mapping[str, Sequence[str]]) -> Iterator[Comparison]:
    """Yields the comparisons of configurations with what the same cells have measured of other outcomes.

    These are the pretrained model and, where a task has them, references without a model and further heads of the same
    model; under each of these heads the configuration is compared with the pretrained model under that head.

    Args:
        cells: The cells with their names, from `named`.
        metric: The metric that is compared.
        several: The configurations of each name; the differences of several are averaged.

    Raises:
        UserError: No finished cell has that metric.
    """
    columns = {"": metric.name} | cells.outcomes(metric.name)
    found = {outcome: values_of(cells, Metric(column, column)) for outcome, column in columns.items()}
    for outcome in (outcome for outcome in found if outcome):
        head = outcome.partition("/")[2]  # of "base/svm_head" svm_head, of others the task's own
        for name, configurations in several.items():
            contrasts = [(found[head][own], found[outcome][own]) for own in configurations if len(found[outcome][own])]
            if contrasts:
                under = f", {head_title(head)}" if head else ""
                yield Comparison(f"{name}{under}", cells.title(outcome), outcome, contrasts)


def values_of(cells: Cells, metric: Metric) -> dict[str, Values]:
    """Returns the values of each configuration by dataset and seed.

    Raises:
        UserError: No finished cell has that metric.
    """
    known = cells.valued(metric.name).set_index(["dataset", "seed"])
    return {str(own): part["value"].dropna() for own, part in known.groupby("configuration", sort=False)}


def names_of(cells: Cells) -> dict[str, str]:
    """Returns the name of each configuration; the cells have it from `named`."""
    known = cells.table[cells.table["configuration"].notna()]
    return dict(zip(known["configuration"], known["name"], strict=True))


def compare(comparisons: Iterable[Comparison], metric: Metric) -> pd.DataFrame:
    """Computes the differences over the same datasets and seeds, and how sure they are.

    The difference is the mean over datasets of their means over seeds. The seeds of one dataset share its examples, so
    they are no independent witnesses of what another dataset would give: where there are `FEWEST` datasets or more, the
    dataset is the `unit`, of whose mean difference `std`, the interval, Wilcoxon's p, wins, ties and losses are. The
    interval resamples datasets with all their seeds: their means differ by the seeds' noise too, which a second
    resampling within would count twice (Davison and Hinkley, Bootstrap Methods and their Application (1997), section
    3.8). Of fewer datasets the unit is the dataset under a seed, and all of that holds for other seeds of the same
    datasets alone.

    Args:
        comparisons: What is compared with what.
        metric: The metric that is compared. A difference above 0 is a win, where lower is better one below 0.

    Returns:
        The columns `COMPARISONS`. `mean` is that of the values that are compared, `settings` the number of contrasts
        that are averaged, `compared` that of differences, `uncompared` that of the values of either that are left out;
        `p_holm` is corrected for all comparisons with one kind of reference.
    """
    rows = [
        {"name": own.name, "reference": own.reference, "against": own.against, "metric": metric.name}
        | _difference(own.contrasts, metric)
        for own in comparisons
    ]
    table = pd.DataFrame(rows, columns=COMPARISONS)
    table["p_holm"] = table.groupby("against", sort=False)["p"].transform(lambda p: holm(p.to_numpy(dtype=float)))
    return with_types(table)


def by_split(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Returns the means over the tables of `balanced`, by dataset and seed."""
    return pd.concat(tables).groupby(level=["dataset", "seed"], dropna=False).mean()


def balanced(contrasts: Sequence[Contrast]) -> list[pd.DataFrame]:
    """Returns `value`, `reference` and `difference` of the contrasts, each by the same datasets and seeds.

    If one setting lacks a seed that another has, the means under the two seeds are of different settings, and would
    differ by these. Kept are some datasets and seeds, and the contrasts that have them all: `FEWEST` datasets, or else
    datasets and seeds, if there are as many, so that there is an interval, and then as many values as a search finds
    that adds one setting after the other.
    """
    tables = [_matched(contrast) for contrast in contrasts]
    has = [splits_of(table.reset_index()) for table in tables]
    different = set(has)

    def size(splits: frozenset[Split]) -> tuple[bool, bool, int, int, list[Split]]:
        datasets, values = len({dataset for dataset, _ in splits}), len(splits) * sum(splits <= own for own in has)
        return datasets >= FEWEST, len(splits) >= FEWEST, values, len(splits), sorted(splits)

    def shared(splits: frozenset[Split]) -> frozenset[Split]:
        best = max((splits & own for own in different), key=size)  # itself among them
        return splits if best == splits else shared(best)

    kept = max(map(shared, different), key=size, default=frozenset())
    whole = [table for table, own in zip(tables, has, strict=True) if kept <= own]
    return [table[among(table.reset_index(), kept).to_numpy()] for table in whole]


def _matched(contrast: Contrast) -> pd.DataFrame:
    """Returns the values and differences of the datasets and seeds for which both sides have one value.

    Which of several cells with the same dataset and seed (run with other versions) is meant nobody can say.
    """
    once = [values[~values.index.duplicated(keep=False)] for values in contrast]
    table = pd.concat(once, axis=1, join="inner", keys=["value", "reference"]).astype(float)
    return table.assign(difference=table["value"] - table["reference"])


def unit_samples(values: Values) -> tuple[list[Floats], str]:
    """Returns the samples that intervals of a mean over datasets resample, and what their units are.

    From `FEWEST` datasets on these are their means over the seeds, one sample; else the seeds of each dataset.
    """
    seeds = [own.to_numpy() for _, own in values.groupby(level="dataset")]
    if len(seeds) < FEWEST:
        return seeds, SPLIT
    return [np.array([own.mean() for own in seeds])], DATASET


def _difference(contrasts: Sequence[Contrast], metric: Metric) -> dict[str, Any]:
    tables = balanced(contrasts)
    table = by_split(tables)
    datasets = table.groupby(level="dataset")
    samples, unit = unit_samples(table["difference"])
    units = np.concatenate(samples) if samples else np.array([])
    low, high = mean_interval(samples, np.random.default_rng(SEED))
    wins, ties, losses = wins_ties_losses(units if metric.higher_is_better else -units)
    compared = sum(map(len, tables))
    return {
        "settings": sum(len(own) > 0 for own in tables),
        "compared": compared,
        "uncompared": sum(len(own) + len(other) for own, other in contrasts) - 2 * compared,
        "datasets": len(datasets),
        "mean": mean_of_means([own["value"].to_numpy() for _, own in datasets]),
        "difference": mean_of_means(samples),
        "unit": unit,
        "std": deviation(samples),
        "low": low,
        "high": high,
        "wins": wins,
        "ties": ties,
        "losses": losses,
        "p": signed_rank_p(units),
    }
