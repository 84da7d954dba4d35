"""Works of OpenAlex, a bibliographic database, as archives of JSON hold them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from layersel.terminal.progress import progress


def read_works(path: Path) -> Iterator[dict[str, str]]:
    """Yields each work of an archive, whose files are lists of works: `openalex_id`, texts, authors and year."""
    with ZipFile(path) as archive:
        for member in progress(archive.namelist(), f"reading {path.name}"):
            for work in json.loads(archive.read(member)):
                yield _record(work)


def plain_abstract(index: Mapping[str, Sequence[int]]) -> str:
    """Returns the text of an inverted index, the word → places form in which OpenAlex has abstracts.

    Example:
        >>> plain_abstract({"sleep": [0, 3], "and": [1], "lost": [2]})
        'sleep and lost sleep'
    """
    return " ".join(word for _, word in sorted((place, word) for word, places in index.items() for place in places))


def _record(work: Mapping[str, Any]) -> dict[str, str]:
    authors = [entry.get("author", {}).get("display_name") for entry in work.get("authorships") or []]
    return {
        "openalex_id": work["id"].lower(),
        "title": work.get("title") or "",
        "abstract": plain_abstract(work.get("abstract_inverted_index") or {}),
        "authors": "; ".join(filter(None, authors)),
        "publication_year": str(work.get("publication_year") or ""),
    }
