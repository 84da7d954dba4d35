"""Files of tagged lines: RIS, MEDLINE (NBIB, PubMed text), Web of Science, EndNote and Ovid.

rispy and nbib are not used to read them: both drop in silence what real exports have (records before a broken line,
a last record that does not end, a tag's second value), and neither knows line numbers to tell it by. In the tests
rispy is the reference.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from layersel.data.identifiers import DOI
from layersel.data.reviews.dialects import DIALECTS, Dialect, Form
from layersel.data.reviews.labels import CONFLICT
from layersel.errors import UserError

Entry = dict[str, list[str]]
Doubts = dict[str, list[str]]

RANK_TAG, SCORE_TAG = "C4", "C8"
BEGINNINGS = ", ".join(repr(dialect.begins) for dialect in DIALECTS)

_LINE_END = re.compile(r"\r\n|\r|\n")
_OUR_MARK = re.compile(r"layersel rank \d+(?:, score \S+)?|layersel score \S+")

_TEXT_OR_TAG = "like a tag, but read as text"
_TAG_OR_TEXT = "like text of the abstract before it, but read as a tag"
_LOOSE = "a tag that is spaced in another way, but read as one"
_TWICE = "a second title or abstract in one record, which may be two records"
_OUTSIDE = "outside of records, not read"
_FRAME = re.compile(r"[\W\d]*|(?:FN|VR) .*|EF\s*")
_OTHER_FORMAT = re.compile(r"\s*(?:@[A-Za-z]+\s*[{(]|<(?:\?xml|xml|records?)\b)")
_EXAMPLES = 3
_RIS_TAG = re.compile(r"(?:^|[\r\n\ufeff])(ER(?=  - *(?:[\r\n]|$))|(?!ER|TY)[A-Z][A-Z0-9](?=  -))")
_PROSE = re.compile(r"[a-z]\w*[ ,.;]")

# what a column takes of a tag's value, and the value if it says no more than that
_EXTRACT = {
    "year": (re.compile(r"\d{4}"), re.compile(r"\d{4}(?:\.0)?[/\s]*")),
    "doi": (
        DOI,
        re.compile(r"(?:doi:\s*)?(?:https?://(?:dx\.)?doi\.org/)?(?:doi:\s*)?\S+(?: \[doi\])?", re.IGNORECASE),
    ),
}
_ASREVIEW = {"relevant": "1", "irrelevant": "0", "not_seen": ""}
_SEPARATOR = {"title": " ", "abstract": " "}


def dialect_of(text: str) -> Dialect | None:
    r"""Returns the tagged format that a text is in, by the line that begins a record; None for any other text.

    Example:
        >>> dialect_of("TY  - JOUR\nTI  - A title").name, dialect_of("title,abstract")
        ('ris', None)
    """
    for line in _LINE_END.split(text):
        for dialect in DIALECTS:
            if any(form.first.match(line.strip("\ufeff")) for form in dialect.forms):
                return dialect
    return None


def parse_tagged(text: str, dialect: Dialect, source: str = "file") -> tuple[list[dict[str, str]], tuple[str, ...]]:
    r"""Returns one row a record, and what is doubtful; tags that fill no column keep their own name.

    A record lasts from the line that begins it to the one that ends it or to the next record; lines outside of
    records (counters, links and search strategies of Embase, Ovid and Cochrane exports) are left out. Values of a
    repeated tag are joined by "; ". ASReview's decisions, which stand in RIS notes, become the column
    `asreview_label`; rank and score of an earlier ranking of ours are left out.

    Args:
        text: The file's text; byte order marks may stand between its lines.
        dialect: Its format.
        source: The name of the file, for errors.

    Raises:
        UserError: A record begins in a line that cannot be read as its beginning, or its beginning is missing: it
            would vanish or merge with its neighbour. The line is named.

    Example:
        >>> parse_tagged("TY  - JOUR\nT1  - A long\ntitle\nN1  - ASReview_relevant", DIALECTS[0])[0]
        [{'title': 'A long title', 'notes': 'ASReview_relevant', 'TY': 'JOUR', 'asreview_label': '1'}]
    """
    doubts: Doubts = {}
    rows = [_row(entry, dialect) for entry in _entries(text, dialect, source, doubts)]
    return rows, tuple(f"{what}: {_examples(lines)}" for what, lines in doubts.items())


def _examples(lines: Sequence[str]) -> str:
    more = f", … ({len(lines)} in all)" if len(lines) > _EXAMPLES else ""
    return ", ".join(lines[:_EXAMPLES]) + more


def _entries(text: str, dialect: Dialect, source: str, doubts: Doubts) -> Iterator[Entry]:
    record = None
    elsewhere = _tags_elsewhere(text, dialect)
    for number, line in _lines(text, dialect):
        begun = _begun(line, dialect, is_open=record is not None)
        if begun is not None:
            if record is not None:
                yield record.entry
            record = begun
            continue
        _check_nothing_lost(line, f"{source}, line {number}", dialect, is_open=record is not None)
        if record is not None and record.ends_in(line):
            yield record.entry
            record = None
            continue
        doubt = _left_out(line) if record is None else record.add(line, dialect, elsewhere)
        if doubt is not None:
            doubts.setdefault(doubt, []).append(f"line {number} ({line.strip()[:40]!r})")
    if record is not None:
        yield record.entry


def _left_out(line: str) -> str | None:
    """Returns what is doubtful about a line between records; None for a counter, and for what frames WoS's files."""
    return None if _FRAME.fullmatch(line) else _OUTSIDE


def _lines(text: str, dialect: Dialect) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(_LINE_END.split(text), start=1):
        for part in dialect.seam.split(line):
            yield number, part.replace("\ufeff", "").strip("\x1a")


@dataclass(slots=True)
class _Record:
    """A record that is being read: the values of each tag, and the tag of the line before."""

    form: Form
    entry: Entry
    tag: str

    def ends_in(self, line: str) -> bool:
        return self.form.last is not None and self.form.last.match(line) is not None

    def add(self, line: str, dialect: Dialect, elsewhere: frozenset[str]) -> str | None:
        """Adds a line; returns what is doubtful about it, None if nothing is."""
        in_abstract = self.tag in dialect.columns["abstract"]
        found = self.form.line.match(line)
        is_loose = found is None and not in_abstract
        found = self.form.loose.match(line) if is_loose else found
        tag, value = (None, "") if found is None else (found["tag"], (found["value"] or "").strip())
        is_known = self.form.known is None or tag in self.form.known
        if tag is None or (tag in self.form.once and tag in self.entry):
            return self._add_text(line, dialect)
        if in_abstract and not is_known and tag not in elsewhere:
            return self._add_text(line, dialect)
        is_second = tag in self.entry and tag in (*dialect.columns["title"], *dialect.columns["abstract"])
        self.tag = tag
        self.entry.setdefault(tag, []).append(value)
        if is_loose:
            return _LOOSE
        if is_second:
            return _TWICE
        is_prose = self.form.known is not None and tag not in dialect.prose and _PROSE.match(value) is not None
        return _TAG_OR_TEXT if in_abstract and (is_prose or not is_known) else None

    def _add_text(self, line: str, dialect: Dialect) -> str | None:
        if line.strip() and self.tag in dialect.listed:
            self.entry[self.tag].append(line.strip())
        elif line.strip():
            self.entry[self.tag][-1] = f"{self.entry[self.tag][-1]} {line.strip()}".strip()
        return _TEXT_OR_TAG if self.form.taglike.match(line) is not None else None


def _tags_elsewhere(text: str, dialect: Dialect) -> frozenset[str]:
    """Returns the tags beyond the known ones that the file has where no abstract can be going on."""
    known = dialect.forms[0].known
    if known is None:
        return frozenset()
    last, found = "", set()
    for tag in _RIS_TAG.findall(text):
        if tag in known or tag == "ER":
            last = tag
        elif last not in dialect.columns["abstract"]:
            found.add(tag)
    return frozenset(found)


def _begun(line: str, dialect: Dialect, is_open: bool) -> _Record | None:
    for form in dialect.forms:
        found = (form.next if is_open and form.next is not None else form.first).match(line)
        if found is not None:
            return _Record(form, {found["tag"]: [(found["value"] or "").strip()]}, found["tag"])
    return None


def _check_nothing_lost(line: str, where: str, dialect: Dialect, is_open: bool) -> None:
    """Raises if a line looks like the beginning of a record, of any format, or like a part of one that has none.

    Outside of records only titles, abstracts and authors are such parts: Ovid writes other tags there.
    """
    expected = None
    if not is_open and _OTHER_FORMAT.match(line):
        raise UserError(
            f"{where}: expected nothing but records that begin with {dialect.begins!r}, but got {line[:60]!r}; "
            "give each format a file of its own"
        )
    if any(other.lost.search(line) for other in DIALECTS):
        expected = "at the start of a line"
    elif not is_open and any(
        (found := form.line.match(line)) is not None and found["tag"] in dialect.columns[column]
        for form in dialect.forms
        for column in ("title", "abstract", "authors")
    ):
        expected = "before its fields"
    if expected is not None:
        raise UserError(
            f"{where}: expected a record's {dialect.begins!r} {expected}, but got {line[:60]!r}; correct the file"
        )


def _row(entry: Entry, dialect: Dialect) -> dict[str, str]:
    rest = {
        tag: [kept for value in values if (kept := _OUR_MARK.sub("", value).strip())] for tag, values in entry.items()
    }
    for short, full in dialect.short.items():
        if len(rest.get(short, [])) <= len(rest.get(full, [])):
            rest.pop(short, None)
    row = {}
    for column, tags in dialect.columns.items():
        value = _extracted(column, tags, rest) if column in _EXTRACT else _first_filled(column, tags, rest)
        if value:
            row[column] = value
    row |= {tag: "; ".join(values) for tag, values in rest.items() if values}
    label = _asreview_label(row.get("notes", ""))
    return row if label is None else {**row, "asreview_label": label}


def _first_filled(column: str, tags: Sequence[str], rest: Entry) -> str:
    """Returns the values of the first tag that has any, and removes them from the rest.

    A database's own key stays there too, because other tools find the record by it.
    """
    for tag in tags:
        if rest.get(tag):
            values = rest[tag] if column == "record_id" and tag != "ID" else rest.pop(tag)
            return _SEPARATOR.get(column, "; ").join(values)
    return ""


def _extracted(column: str, tags: Sequence[str], rest: Entry) -> str:
    """Returns the year or the DOI in the first tag that has one; values that say no more are left out of the rest."""
    pattern, nothing_more = _EXTRACT[column]
    matches = (pattern.search(value) for tag in tags for value in rest.get(tag, []))
    found = next((match.group() for match in matches if match is not None), "")
    for tag in filter(rest.__contains__, tags if found else ()):
        rest[tag] = [value for value in rest[tag] if not (nothing_more.fullmatch(value) and found in value)]
    return found


def _asreview_label(notes: str) -> str | None:
    """Returns the label that ASReview's notes have, `conflict` where several differ, None where there are none."""
    labels = {_ASREVIEW[note] for note in re.findall("ASReview_(relevant|irrelevant|not_seen)", notes)}
    return None if not labels else labels.pop() if len(labels) == 1 else CONFLICT
