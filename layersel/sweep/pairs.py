"""Pairs of dataset and seed: those that configurations have values for, share, and lack."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from layersel.sweep.reading import as_text

Pair = tuple[str, str]
"""A dataset and a seed."""


def pair_of(cells: pd.DataFrame) -> "pd.Series[Any]":
    """Returns the pair of each cell."""
    pairs = [
        (str(dataset), as_text(None if pd.isna(seed) else seed))
        for dataset, seed in zip(cells["dataset"], cells["seed"], strict=True)
    ]
    return pd.Series(pairs, index=cells.index, dtype=object)


def pairs_of(cells: pd.DataFrame) -> frozenset[Pair]:
    """Returns the pairs of some cells."""
    return frozenset(pair_of(cells))


def among(cells: pd.DataFrame, pairs: frozenset[Pair]) -> "pd.Series[bool]":
    """Returns for each cell whether its pair is one of `pairs`."""
    return pair_of(cells).map(lambda pair: pair in pairs).astype(bool)


def lacking(known: pd.DataFrame) -> dict[str, frozenset[Pair]]:
    """Returns the pairs of each configuration's own cells that it has no value for, but some other one has."""
    somewhere = pairs_of(known.dropna(subset="value"))
    return {
        str(own): (pairs_of(part) & somewhere) - pairs_of(part.dropna(subset="value"))
        for own, part in known.groupby("configuration")
    }


def shared_pairs(known: pd.DataFrame, lacks: Mapping[str, frozenset[Pair]]) -> frozenset[Pair]:
    """Returns the pairs over which complete configurations are compared: those that make the largest table of values.

    In one grid all complete configurations have the same pairs. Cells of several grids may have pairs that others lack:
    a few more seeds of one configuration must not make all others incomplete.

    Args:
        known: The cells, with their values.
        lacks: What each configuration lacks of its own cells, from `lacking`; those that lack any are left aside.
    """
    valued = known.dropna(subset="value")
    has = [pairs_of(part) for own, part in valued.groupby("configuration") if not lacks[str(own)]]
    if not has:
        return frozenset()

    def size(pairs: frozenset[Pair]) -> tuple[int, int, list[Pair]]:
        having = sum(pairs <= own for own in has)
        return len(pairs) * having, having, sorted(pairs)

    return max({*has, frozenset.intersection(*has)}, key=size)


def in_words(pairs: Iterable[Pair], known: pd.DataFrame) -> str:
    """Returns pairs as "NSAIDS: seeds 0, 1; ADHD: seed 1", without the dataset where there is only one."""
    seeds: dict[str, list[str]] = {}
    for dataset, seed in sorted(pairs, key=lambda pair: (pair[0], len(pair[1]), pair[1])):
        seeds.setdefault(dataset, []).append(seed)
    words = {dataset: f"seed{'s' * (len(own) > 1)} {', '.join(own)}" for dataset, own in seeds.items()}
    if known["dataset"].nunique() == 1:
        return "; ".join(words.values())
    return "; ".join(f"{dataset}: {own}" for dataset, own in words.items())
