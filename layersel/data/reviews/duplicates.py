"""Records that are one publication, found only where that is safe to say.

Two records are duplicates when they have the same PMID, or the same title and the same abstract, or the same
title and the same DOI. A title alone is not enough ("Editorial"), nor is a DOI: chapters of a book share it.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from layersel.data.identifiers import DOI
from layersel.data.reviews.records import Record

Key = tuple[str, ...]

_NOT_WORDS = re.compile(r"\W+")


def find_duplicates(records: Sequence[Record]) -> list[list[int]]:
    """Returns the indices of the records of each publication that stands there more than once, in order of appearance.

    Example:
        >>> a = Record("1", "Sleep in PTSD.", "We …", fields={"doi": "10.1000/A"})
        >>> b = Record("2", "Sleep in PTSD", "", fields={"doi": "https://doi.org/10.1000/a"})
        >>> find_duplicates([a, Record("3", "Sleep", ""), b])
        [[0, 2]]
    """
    parent = list(range(len(records)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    first: dict[Key, int] = {}
    titles = [_words(record.title) for record in records]
    counts = Counter(titles)
    for index, (record, title) in enumerate(zip(records, titles, strict=True)):
        for key in _keys(record, title if counts[title] > 1 else ""):
            low, high = sorted((root(first.setdefault(key, index)), root(index)))
            parent[high] = low
    groups: dict[int, list[int]] = {}
    for index in range(len(records)):
        groups.setdefault(root(index), []).append(index)
    return [group for group in groups.values() if len(group) > 1]


def known_labels(records: Sequence[Record], group: Sequence[int]) -> set[int]:
    """Returns the different decisions on one publication; more than one is a conflict."""
    return {label for index in group if (label := records[index].label) is not None}


def drop_duplicates(records: Sequence[Record], groups: Sequence[Sequence[int]]) -> list[Record]:
    """Keeps the first record of each group, with what it lacks from the others: label, title, abstract, fields.

    A group with conflicting labels stays whole: dropping would decide the conflict by the order of the file.
    """
    kept: dict[int, Record] = dict(enumerate(records))
    for group in groups:
        labels = known_labels(records, group)
        if len(labels) > 1:
            continue
        first, *others = group
        copies = [records[index] for index in group]
        kept[first] = replace(
            records[first],
            label=next(iter(labels), None),
            title=next((own.title for own in copies if own.title), ""),
            abstract=next((own.abstract for own in copies if own.abstract), ""),
            fields={name: value for own in reversed(copies) for name, value in own.fields.items()},
        )
        for index in others:
            del kept[index]
    return list(kept.values())


def _keys(record: Record, title: str) -> list[Key]:
    """Returns what two records of one publication share; `title` is empty where no other record has it."""
    abstract = _words(record.abstract) if title else ""
    doi = DOI.search(record.fields.get("doi", "").lower())
    pmid = re.fullmatch(r"0*([1-9]\d*)(\.0)?", record.fields.get("pmid", "").strip())
    keys: list[Key] = [("pmid", pmid[1])] if pmid is not None else []
    if title and abstract:
        keys.append(("abstract", title, abstract))
    if title and doi is not None:
        keys.append(("doi", title, doi[0].rstrip(".")))
    return keys


def _words(text: str) -> str:
    return _NOT_WORDS.sub(" ", text.casefold()).strip()
