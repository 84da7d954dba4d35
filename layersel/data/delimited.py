"""Tables: their rows, and comma, semicolon and tab separated files."""

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from layersel.data.header import Header, Wanted, never, place_of_header
from layersel.errors import UserError
from layersel.terminal.tables import counted

_DELIMITERS = (",", ";", "\t")

# Excel's own first line, which names the delimiter
_SEPARATOR_LINE = re.compile(r"\"?sep=(.)\"?[\r\n]+", re.IGNORECASE)


_HEADER_WITHIN = 20
"""Rows among which the header is looked for."""
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Rows:
    """A table as it is written.

    Attributes:
        columns: The names in its header.
        rows: Column → value of each other line that has a value.
        notes: What was left out, stands again or is missing, a line each.
        empty: Lines of delimiters without a value, which are no rows.
    """

    columns: list[str]
    rows: list[dict[str, str]]
    notes: tuple[str, ...] = ()
    empty: int = 0


def parse_delimited(text: str, source: str, wanted: Wanted, header_like: Wanted = never) -> Rows:
    r"""Returns the table in a text; `source` names the file in errors.

    Lines that end before the last column that has a name are told: a break within a value, a cut end, or another
    table with another delimiter makes such lines.

    Raises:
        UserError: A quote that never closes, a row with more values than there are columns, or the header of another
            table: records would be swallowed or shifted in silence.

    Example:
        >>> parse_delimited("id;title\n1;One\n2;Two, or three\n", "file", lambda names: "title" in names).rows
        [{'id': '1', 'title': 'One'}, {'id': '2', 'title': 'Two, or three'}]
    """
    return table_rows(_cells(text, source, wanted), source, wanted, header_like, delimited=True)


def table_rows(
    lines: Iterable[list[str]], source: str, wanted: Wanted, header_like: Wanted = never, delimited: bool = False
) -> Rows:
    """Returns the table in lines of cells, of which empty ones are left out.

    Its header is the first line, unless names that are wanted stand further down: databases write the search before
    it. Where tables were joined, the header stands there again and orders what follows. Short lines end in empty
    values, as spreadsheets write them.

    Args:
        lines: The cells of each line.
        source: What errors name.
        wanted: Whether names are those of the table that is looked for.
        header_like: Whether cells can be nothing but names, whatever the header's are.
        delimited: Whether the cells are what stands between delimiters: then short lines are told.

    Raises:
        UserError: A line has more values than there are columns, or it is the header of another table.
    """
    empty: list[list[str]] = []
    filled = _filled(lines, empty)
    first = list(islice(filled, _HEADER_WITHIN))
    place = place_of_header(first, wanted)
    header = Header(next(iter(first[place:]), []))
    rows: list[dict[str, str]] = []
    order = header.columns
    again, short = [], []
    for cells in chain(first[place + 1 :], filled):
        number = len(rows) + 1
        repeated = header.order_in(cells)
        if repeated is not None:
            order = repeated
            again.append(number)
            continue
        if header_like(cells) or (header.shares_names(cells) and wanted(cells)):
            raise UserError(
                f"{source}, row {number}: expected values, but got the header of another table "
                f"({', '.join(cells)[:60]}); give all the same columns, or each a file of its own"
            )
        if any(cells[len(order) :]):
            remedy = "quote the values that contain the delimiter" if delimited else "give each of them a column's name"
            raise UserError(f"{source}, row {number}: expected {len(order)} values, but got {len(cells)}; {remedy}")
        if len(cells) < header.named:
            short.append(number)
        rows.append(dict(zip(order, cells + [""] * (len(order) - len(cells)), strict=False)))
    return Rows(header.columns, rows, tuple(_notes(first[:place], again, short if delimited else [])), len(empty))


def has_header(lines: Sequence[list[str]], wanted: Wanted) -> bool:
    """Returns whether one of the first lines has names that are wanted."""
    return any(map(wanted, islice(_filled(lines, []), _HEADER_WITHIN)))


def _notes(before: Sequence[Sequence[str]], again: Sequence[int], short: Sequence[int]) -> Iterator[str]:
    """Yields a line each on the lines before the header, the rows before which it stands again, and the short rows."""
    if before:
        left_out = [" ".join(" ".join(cells).split()) for cells in before]
        yield f"before the header, not read: {'; '.join(repr(line[:60]) for line in left_out)}"
    if again:
        yield f"the header stands again before {_first(again)}: tables were joined, and all are read"
    if short:
        lacking = f"{counted(len(short), 'row')} without the last values ({_first(short)})"
        yield f"{lacking}: a line break within a value, or a cut end, does this"


def _first(rows: Sequence[int]) -> str:
    """Names the first of these rows."""
    more = ", …" if len(rows) > _EXAMPLES else ""
    return ", ".join(f"row {number}" for number in rows[:_EXAMPLES]) + more


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
        header = next(iter(first[place_of_header(first, wanted) :]), [])
        return wanted(next(iter(first), [])), wanted(header), len(header)

    return max(_DELIMITERS, key=columns)


def _cells(text: str, source: str, wanted: Wanted) -> Iterator[list[str]]:
    named = _SEPARATOR_LINE.match(text)
    skipped = 0 if named is None else 1
    table = None
    try:
        delimiter = detect_delimiter(text, wanted) if named is None else named[1]
        content = text[0 if named is None else named.end() :]
        bare = delimiter == "\t" and '"' in content and _has_bare_quotes(content)
        lines = io.StringIO(content, newline="")
        table = (
            csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, strict=True)
            if bare
            else csv.reader(lines, delimiter=delimiter, strict=True)
        )
        yield from table
    except csv.Error as error:
        line = skipped + (1 if table is None else table.line_num)
        remedy = "double the quotes that stand inside values"
        if "field limit" in str(error):
            remedy += ", or save values this long in a form that is no table"
        raise UserError(f"{source}, near line {line}: a quoted value is broken ({error}); {remedy}") from error


def _has_bare_quotes(text: str) -> bool:
    r"""Returns whether quotes are a part of the values in a text of tabs, as Web of Science writes it.

    They are where some value's quotes do not stand around it, or hold a tab and a line's end, so that two records would
    become one.

    Example:
        >>> [_has_bare_quotes(text) for text in ('a\t"b\nc"', '"On" sleep\tb', 'a\t"b\n2\tc"')]
        [False, True, True]
    """
    lines = csv.reader(io.StringIO(text, newline=""), "excel-tab", strict=True)
    try:
        return any("\t" in cell and "\n" in cell for cells in lines for cell in cells)
    except csv.Error:
        return True
