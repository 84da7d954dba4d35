"""RIS and MEDLINE (NBIB, PubMed text) files: lines of tags, read as tolerantly as real exports need."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

Entry = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Dialect:
    """One of the two tagged formats.

    Attributes:
        name: The name that reports use.
        line: Matches a tagged line; groups `tag` and `value` (None where empty).
        first: The tag that begins a record.
        last: The tag that ends one; empty where the format has none.
        columns: The tags that can fill each column, best first.
    """

    name: str
    line: re.Pattern[str]
    first: str
    last: str
    columns: Mapping[str, tuple[str, ...]]


# RIS wants two spaces after a tag. One is common; then only these count: "OR - 1.5" continues an abstract.
_RIS_TAGS = (
    "A[1-4]|AB|AD|AN|AU|AV|BT|C[1-8]|CA|CN|CP|CT|CY|DA|DB|DO|DP|ED|EP|ER|ET|ID|IS|J[12]|JA|JF|JO|KW|L[1-4]|LA|"
    "LB|LK|M[1-3]|N[12]|NV|OP|PB|PP|PY|RI|RN|RP|SE|SN|SP|SR|ST|SV|T[1-3]|TA|TI|TT|TY|U[1-5]|UR|VL|VO|Y[12]"
)

RIS = Dialect(
    name="ris",
    line=re.compile(rf"(?P<tag>[A-Z][A-Z0-9](?=  )|(?:{_RIS_TAGS})(?= )) {{1,2}}-(?: (?P<value>.*)|$)"),
    first="TY",
    last="ER",
    columns={
        "record_id": ("ID",),
        "title": ("TI", "T1"),
        "abstract": ("AB", "N2"),
        "authors": ("AU", "A1"),
        "year": ("PY", "Y1", "DA"),
        "doi": ("DO",),
        "journal": ("JF", "T2", "JO", "JA"),
        "keywords": ("KW",),
        "url": ("UR",),
        "notes": ("N1",),
    },
)

MEDLINE = Dialect(
    name="medline",
    line=re.compile(r"(?P<tag>[A-Z]{2,4}) {0,2}-(?: (?P<value>.*)|$)"),
    first="PMID",
    last="",
    columns={
        "pmid": ("PMID",),
        "title": ("TI", "BTI"),
        "abstract": ("AB",),
        "authors": ("FAU", "AU"),
        "year": ("DP",),
        "doi": ("AID", "LID"),
        "journal": ("JT", "TA"),
        "keywords": ("OT", "MH"),
    },
)

_EXTRACT = {"year": re.compile(r"\d{4}"), "doi": re.compile(r"10\.\d{4,9}/\S+")}
_SEPARATOR = {"title": " ", "abstract": " "}


def dialect_of(text: str) -> Dialect | None:
    r"""Returns the tagged format that a text is in, by the tag that begins a record; None for any other text.

    Example:
        >>> dialect_of("TY  - JOUR\nTI  - A title").name, dialect_of("title,abstract")
        ('ris', None)
    """
    for line in text.splitlines():
        for dialect in (RIS, MEDLINE):
            found = dialect.line.match(line)
            if found is not None and found["tag"] == dialect.first:
                return dialect
    return None


def parse_tagged(text: str, dialect: Dialect) -> list[dict[str, str]]:
    r"""Returns one row a record, under the columns' names; tags that fill no column keep their own.

    A record lasts from its first tag to its last or to the next record; lines outside of records (counters,
    links and search strategies of Embase, Ovid and Cochrane exports) are left out. Values of a repeated tag
    are joined by "; ". ASReview's decisions, which stand in RIS notes, become the column `asreview_label`.

    Example:
        >>> parse_tagged("TY  - JOUR\nT1  - A long\ntitle\nN1  - ASReview_relevant", RIS)
        [{'title': 'A long title', 'notes': 'ASReview_relevant', 'TY': 'JOUR', 'asreview_label': '1'}]
    """
    return [_row(entry, dialect) for entry in _entries(text.splitlines(), dialect)]


def _entries(lines: Iterable[str], dialect: Dialect) -> Iterator[Entry]:
    entry: Entry | None = None
    for tag, value in _tags(lines, dialect):
        if tag in (dialect.first, dialect.last):
            if entry is not None:
                yield entry
            entry = {} if tag == dialect.first else None
        if entry is not None:
            entry.setdefault(tag, []).append(value)
    if entry is not None:
        yield entry


def _tags(lines: Iterable[str], dialect: Dialect) -> Iterator[tuple[str, str]]:
    """Yields each tag with its value, to which the untagged lines after it belong."""
    tag, parts = "", [""]
    for line in lines:
        found = dialect.line.match(line)
        if found is None:
            parts.append(line.strip())
            continue
        if tag:
            yield tag, " ".join(filter(None, parts))
        tag, parts = found["tag"], [(found["value"] or "").strip()]
    if tag:
        yield tag, " ".join(filter(None, parts))


def _row(entry: Entry, dialect: Dialect) -> dict[str, str]:
    row, used = {}, set()
    for column, tags in dialect.columns.items():
        for tag in tags:
            values = _values(column, entry.get(tag, []))
            if values:
                row[column] = _SEPARATOR.get(column, "; ").join(values)
                used.add(tag)
                break
    row |= {tag: "; ".join(filter(None, values)) for tag, values in entry.items() if tag not in used}
    label = _asreview_label(row.get("notes", ""))
    return row if label is None else {**row, "asreview_label": label}


def _values(column: str, values: list[str]) -> list[str]:
    if column not in _EXTRACT:
        return [value for value in values if value]
    matches = (_EXTRACT[column].search(value) for value in values)
    return [found.group() for found in matches if found is not None][:1]


def _asreview_label(notes: str) -> str | None:
    for note, label in (("relevant", "1"), ("irrelevant", "0"), ("not_seen", "")):
        if f"ASReview_{note}" in notes:
            return label
    return None
