"""Tables: their rows, and comma, semicolon and tab separated files."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from layersel.data.identifiers import unique_names
from layersel.errors import UserError

_DELIMITERS = (",", ";", "\t")

# Excel's own first line, which names the delimiter
_SEPARATOR_LINE = re.compile(r"\"?sep=(.)\"?[\r\n]+", re.IGNORECASE)


_HEADER_WITHIN = 20
"""Rows among which the header is looked for."""

Wanted = Callable[[Sequence[str]], bool]
"""A function of this kind says whether names of columns are those of the table that is looked for."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A table as it is written.

    Attributes:
        columns: The names in its header.
        rows: Column → value of each other line that has a value.
        notes: A line for the terminal if lines before the header were left out, else none.
        empty: Lines of delimiters without a value, which are no rows.
    """

    columns: list[str]
    rows: list[dict[str, str]]
    notes: tuple[str, ...] = ()
    empty: int = 0


def parse_delimited(text: str, source: str, wanted: Wanted) -> Rows:
    r"""Returns the table in a text; `source` names the file in errors.

    Raises:
        UserError: A quote that never closes, or a row with more values than there are columns: records would
            be swallowed or shifted in silence.

    Example:
        >>> parse_delimited("id;title\n1;One\n2;Two, or three\n", "file", lambda names: "title" in names).rows
        [{'id': '1', 'title': 'One'}, {'id': '2', 'title': 'Two, or three'}]
    """
    return table_rows(_cells(text, source, wanted), source, wanted)


def table_rows(lines: Iterable[list[str]], source: str, wanted: Wanted) -> Rows:
    """Returns the table in lines of cells, of which empty ones are left out.

    Its header is the first line, unless names that are wanted stand further down: databases write the search before
    it. Short lines end in empty values, as spreadsheets write them.

    Raises:
        UserError: A line has more values than there are columns.
    """
    empty: list[list[str]] = []
    filled = _filled(lines, empty)
    first = list(islice(filled, _HEADER_WITHIN))
    header = _header(first, wanted)
    columns = unique_names([" ".join(name.split()) for name in next(iter(first[header:]), [])])
    rows = []
    for number, cells in enumerate(chain(first[header + 1 :], filled), start=1):
        if any(cells[len(columns) :]):
            raise UserError(
                f"{source}, row {number}: expected {len(columns)} values, but got {len(cells)}; "
                "quote the values that contain the delimiter"
            )
        rows.append(dict(zip(columns, cells + [""] * (len(columns) - len(cells)), strict=False)))
    before = [" ".join(" ".join(cells).split()) for cells in first[:header]]
    notes = (f"before the header, not read: {'; '.join(repr(line[:60]) for line in before)}",) if before else ()
    return Rows(columns, rows, notes, len(empty))


def _filled(lines: Iterable[list[str]], empty: list[list[str]]) -> Iterator[list[str]]:
    """Yields the lines that have a value; those of delimiters only go to `empty`."""
    for cells in lines:
        if any(cell.strip() for cell in cells):
            yield cells
        elif cells:
            empty.append(cells)


def detect_delimiter(text: str, wanted: Wanted) -> str:
    r"""Returns the delimiter that splits the header into most columns; a comma when there is one column.

    Names that are wanted count in the first line before those further down, which may be a part of a value.

    Example:
        >>> detect_delimiter('Search: a; b; c\n"title; or name"\ttitle', lambda names: "title" in names)
        '\t'
    """

    def columns(delimiter: str) -> tuple[bool, bool, int]:
        table = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        first = list(islice((cells for cells in table if cells), _HEADER_WITHIN))
        header = next(iter(first[_header(first, wanted) :]), [])
        return wanted(next(iter(first), [])), wanted(header), len(header)

    return max(_DELIMITERS, key=columns)


def _header(lines: Sequence[list[str]], wanted: Wanted) -> int:
    """Returns the place of the header: the longest line of wanted names, or the first line if there is none."""
    found = [place for place, cells in enumerate(lines) if wanted(cells)]
    return max(found, key=lambda place: sum(bool(cell.strip()) for cell in lines[place]), default=0)


def _cells(text: str, source: str, wanted: Wanted) -> Iterator[list[str]]:
    named = _SEPARATOR_LINE.match(text)
    skipped = 0 if named is None else 1
    table = None
    try:
        delimiter = detect_delimiter(text, wanted) if named is None else named[1]
        table = csv.reader(
            io.StringIO(text[0 if named is None else named.end() :], newline=""), delimiter=delimiter, strict=True
        )
        yield from table
    except csv.Error as error:
        line = skipped + (1 if table is None else table.line_num)
        remedy = "double the quotes that stand inside values"
        if "field limit" in str(error):
            remedy += ", or save values this long in a form that is no table"
        raise UserError(f"{source}, near line {line}: a quoted value is broken ({error}); {remedy}") from error
