"""Splits, each a dataset under a seed: those that configurations have values for, share, and lack."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from layersel.sweep.reading import as_text

Split = tuple[str, str]
"""A dataset and a seed."""


def split_of(cells: pd.DataFrame) -> "pd.Series[Any]":
    """Returns the split of each cell."""
    splits = [
        (str(dataset), as_text(None if pd.isna(seed) else seed))
        for dataset, seed in zip(cells["dataset"], cells["seed"], strict=True)
    ]
    return pd.Series(splits, index=cells.index, dtype=object)


def splits_of(cells: pd.DataFrame) -> frozenset[Split]:
    """Returns the splits of some cells."""
    return frozenset(split_of(cells))


def among(cells: pd.DataFrame, splits: frozenset[Split]) -> "pd.Series[bool]":
    """Returns for each cell whether its split is one of `splits`."""
    return split_of(cells).map(lambda split: split in splits).astype(bool)


def lacking(known: pd.DataFrame) -> dict[str, frozenset[Split]]:
    """Returns the splits of each configuration's own cells that it has no value for, but some other one has."""
    somewhere = splits_of(known.dropna(subset="value"))
    return {
        str(own): (splits_of(part) & somewhere) - splits_of(part.dropna(subset="value"))
        for own, part in known.groupby("configuration")
    }


def shared_splits(known: pd.DataFrame, lacks: Mapping[str, frozenset[Split]]) -> frozenset[Split]:
    """Returns the splits over which complete configurations are compared: those that make the largest table of values.

    In one grid all complete configurations have the same splits. Of several grids some may have splits that others
    lack: more seeds of one configuration must not make all others incomplete, so that a table of two comes first.

    Args:
        known: The cells, with their values.
        lacks: What each configuration lacks of its own cells, from `lacking`; those that lack any are left aside.
    """
    valued = known.dropna(subset="value")
    has = [splits_of(part) for own, part in valued.groupby("configuration") if not lacks[str(own)]]
    if not has:
        return frozenset()

    def size(splits: frozenset[Split]) -> tuple[bool, int, int, list[Split]]:
        having = sum(splits <= own for own in has)
        return bool(splits) and having > 1, len(splits) * having, having, sorted(splits)

    return max({*has, frozenset.intersection(*has)}, key=size)


@dataclass(frozen=True)
class Comparable:
    """What can be compared of some cells.

    Attributes:
        cells: The cells over which ranked configurations are averaged: those of the splits that all of these have.
        lacks: The splits that each configuration lacks, of its own cells' and of those that are compared.
    """

    cells: pd.DataFrame
    lacks: dict[str, frozenset[Split]]


def comparable(known: pd.DataFrame) -> Comparable:
    """Returns the cells that make the fairest comparison, by `shared_splits`.

    Args:
        known: The cells, with their values.
    """
    own_lacks = lacking(known)
    shared = shared_splits(known, own_lacks)
    has = known.dropna(subset="value")
    lacks = {own: lacked | (shared - splits_of(has[has["configuration"] == own])) for own, lacked in own_lacks.items()}
    ranked = [own for own, lacked in lacks.items() if not lacked]
    return Comparable(has[among(has, shared) & has["configuration"].isin(ranked)], lacks)


def in_words(splits: Iterable[Split], known: pd.DataFrame) -> str:
    """Returns splits as "NSAIDS: seeds 0, 1; ADHD: seed 1", without the dataset where there is only one."""
    seeds: dict[str, list[str]] = {}
    for dataset, seed in sorted(splits, key=lambda split: (split[0], len(split[1]), split[1])):
        seeds.setdefault(dataset, []).append(seed)
    words = {dataset: f"seed{'s' * (len(own) > 1)} {', '.join(own)}" for dataset, own in seeds.items()}
    if known["dataset"].nunique() == 1:
        return "; ".join(words.values())
    return "; ".join(f"{dataset}: {own}" for dataset, own in words.items())
