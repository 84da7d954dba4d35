"""Tables: their rows, and comma, semicolon and tab separated files."""

import csv
import io
import re
from collections.abc import Iterable, Iterator

from layersel.data.identifiers import unique_names
from layersel.errors import UserError

_DELIMITERS = (",", ";", "\t")

# Excel's own first line, which names the delimiter
_SEPARATOR_LINE = re.compile(r"\"?sep=(.)\"?[\r\n]+", re.IGNORECASE)


def parse_delimited(text: str, source: str) -> tuple[list[str], list[dict[str, str]]]:
    r"""Returns the column names and one row a record, empty rows left out; `source` names the file in errors.

    Raises:
        UserError: A quote that never closes, or a row with more values than there are columns: records would
            be swallowed or shifted in silence.

    Example:
        >>> parse_delimited("id;title\n1;One\n2;Two, or three\n", "file")
        (['id', 'title'], [{'id': '1', 'title': 'One'}, {'id': '2', 'title': 'Two, or three'}])
    """
    return table_rows(_cells(text, source), source)


def table_rows(lines: Iterable[list[str]], source: str) -> tuple[list[str], list[dict[str, str]]]:
    """Returns the names in the first line that has a value, and one row for each other line that has one.

    Short lines end in empty values, as spreadsheets write them.

    Raises:
        UserError: A line has more values than there are columns.
    """
    filled = (cells for cells in lines if any(cell.strip() for cell in cells))
    columns = unique_names([" ".join(name.split()) for name in next(filled, [])])
    rows = []
    for number, cells in enumerate(filled, start=1):
        if any(cells[len(columns) :]):
            raise UserError(
                f"{source}, row {number}: expected {len(columns)} values, but got {len(cells)}; "
                "quote the values that contain the delimiter"
            )
        rows.append(dict(zip(columns, cells + [""] * (len(columns) - len(cells)), strict=False)))
    return columns, rows


def detect_delimiter(text: str) -> str:
    r"""Returns the delimiter that splits the header into most columns; a comma when there is one column.

    Example:
        >>> detect_delimiter('"title; or name"\tabstract')
        '\t'
    """

    def columns(delimiter: str) -> int:
        table = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        return len(next((cells for cells in table if cells), []))

    return max(_DELIMITERS, key=columns)


def _cells(text: str, source: str) -> Iterator[list[str]]:
    named = _SEPARATOR_LINE.match(text)
    delimiter = detect_delimiter(text) if named is None else named[1]
    skipped = 0 if named is None else 1
    table = None
    try:
        table = csv.reader(
            io.StringIO(text[0 if named is None else named.end() :], newline=""), delimiter=delimiter, strict=True
        )
        yield from table
    except csv.Error as error:
        line = skipped + (1 if table is None else table.line_num)
        raise UserError(
            f"{source}, near line {line}: a quoted value is broken ({error}); double the quotes that stand inside "
            "values"
        ) from error
