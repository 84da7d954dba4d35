"""Comma, semicolon and tab separated tables."""

import csv
import io
from collections.abc import Iterator

from layersel.data.identifiers import unique_names
from layersel.errors import UserError

_DELIMITERS = (",", ";", "\t")


def parse_delimited(text: str, source: str) -> tuple[list[str], list[dict[str, str]]]:
    r"""Returns the column names and one row a record, empty rows left out; `source` names the file in errors.

    Short rows end in empty values, as spreadsheets write them.

    Raises:
        UserError: A quote that never closes, or a row with more values than there are columns: records would
            be swallowed or shifted in silence.

    Example:
        >>> parse_delimited("id;title\n1;One\n2;Two, or three\n", "file")
        (['id', 'title'], [{'id': '1', 'title': 'One'}, {'id': '2', 'title': 'Two, or three'}])
    """
    lines = _cells(text, source)
    columns = unique_names([name.strip() for name in next(lines, [])])
    rows = []
    for number, cells in enumerate(lines, start=1):
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
    table = None
    try:
        table = csv.reader(io.StringIO(text, newline=""), delimiter=detect_delimiter(text), strict=True)
        yield from (cells for cells in table if any(cell.strip() for cell in cells))
    except csv.Error as error:
        raise UserError(
            f"{source}, near line {1 if table is None else table.line_num}: a quoted value is broken ({error}); "
            "double the quotes that stand inside values"
        ) from error
