"""Tables in workbooks (.xlsx)."""

import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from layersel.data.delimited import Rows, has_header, table_rows
from layersel.data.header import Wanted, never
from layersel.errors import UserError
from layersel.terminal.progress import progress
from layersel.terminal.tables import counted

_ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")
_SHEET = re.compile(r"xl/worksheets/[^/]+\.xml")
_FORMULA_ALONE = re.compile(rb"<c\b[^>]*>\s*<f\b[^>]*(?:/>|>[^<]*</f>)\s*(?:<v\s*/>|<v>\s*</v>)?\s*</c>")
_MERGED = re.compile(rb'<mergeCell\b[^>]*\bref="[A-Z]+(\d+):[A-Z]+(\d+)"')
# limits of the format
_LONGEST_CELL = 32_767
_MOST_ROWS = 1_048_576


def parse_workbook(
    raw: bytes, source: str, wanted: Wanted, header_like: Wanted = never, only: str | None = None
) -> Rows:
    """Returns the table in one sheet, with a line that names the sheet if others were read.

    The sheet is the first with a header that is wanted; if none has, the first that is not empty.

    Args:
        raw: The workbook.
        source: The name of the file in errors.
        wanted: Whether the names of a sheet's columns are those of the table that is looked for.
        header_like: As in `table_rows`.
        only: The name of the sheet, if the others are not to be read.

    Raises:
        UserError: The bytes are no workbook or a damaged one, it lacks the sheet, or a row has more values than there
            are columns.
    """
    from openpyxl import load_workbook

    try:
        book = load_workbook(io.BytesIO(raw), read_only=True, data_only=True)
        chosen_sheets = [sheet for sheet in book.worksheets if only in (None, sheet.title)]
        sheets = {sheet.title: list(_cells(sheet)) for sheet in chosen_sheets}
    except Exception as error:  # whatever the readers of zip, XML and dates within raise
        raise UserError(f"{source}: cannot be read as a workbook ({error}); save it again as .xlsx") from error
    if only is not None and only not in sheets:
        raise UserError(f"{source}: expected a sheet {only!r}, but found {', '.join(map(repr, book.sheetnames))}")
    filled = {title: lines for title, lines in sheets.items() if lines}
    if not filled:
        return Rows([], [])
    chosen = next((title for title, lines in filled.items() if has_header(lines, wanted)), next(iter(filled)))
    where = source if len(filled) == 1 else f"{source}, sheet {chosen!r}"
    table = table_rows(filled[chosen], where, wanted, header_like)
    others = [repr(title) for title in filled if title != chosen]
    notes = (f"sheet {chosen!r} was read; not read: {', '.join(others)}",) if others else ()
    return replace(table, notes=(*notes, *_lacking(raw), *table.notes))


def _lacking(raw: bytes) -> Iterator[str]:
    """Yields a line each on cells that look filled in a spreadsheet and are read as empty."""
    formulas = merged = 0
    with ZipFile(io.BytesIO(raw)) as archive:
        for name in filter(_SHEET.fullmatch, archive.namelist()):
            sheet = archive.read(name)
            formulas += len(_FORMULA_ALONE.findall(sheet))
            merged += sum(first != last for first, last in _MERGED.findall(sheet))
    if formulas:
        yield (
            f"{counted(formulas, 'formula')} without a stored value, read as empty; open the workbook in a spreadsheet "
            "program and save it"
        )
    if merged:
        yield f"{counted(merged, 'cell')} merged over several rows: the value is read in the first row alone"


def write_workbook(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Writes a table as a workbook of one sheet; texts stay texts, also those that begin like a formula.

    Raises:
        UserError: A text is longer than a cell can be, or there are more rows than a sheet can have.
    """
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell

    book = Workbook(write_only=True)
    sheet = book.create_sheet("records")
    try:
        for number, row in enumerate(rows, start=1):
            if number > _MOST_ROWS:
                raise UserError(f"out: expected at most {_MOST_ROWS} rows in .xlsx, but got more; write .csv instead")
            cells = [WriteOnlyCell(sheet, _writable(value)) for value in row]
            for cell in cells:
                if cell.data_type == "f":
                    cell.data_type = "s"
            sheet.append(cells)
    except UserError:
        sheet.close()  # or else its writer complains when it is collected
        raise
    book.save(path)


def _writable(value: Any) -> Any:
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    if not isinstance(value, str):
        return value if not isinstance(value, float) or math.isfinite(value) else str(value)
    if len(value) > _LONGEST_CELL:
        got = f"{len(value)} ({value[:30]!r} …)"
        raise UserError(
            f"out: expected at most {_LONGEST_CELL} characters in a cell of .xlsx, but got {got}; write .csv"
        )
    return ILLEGAL_CHARACTERS_RE.sub(" ", value)


def _cells(sheet: Any) -> Iterator[list[str]]:
    sheet.reset_dimensions()  # other programs write wrong ones, and only what they enclose would be read
    for row in progress(sheet.iter_rows(values_only=True), f"reading sheet {sheet.title}"):
        cells = [_text(value) for value in row]
        if any(cell.strip() for cell in cells):
            yield cells


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime) and value.time() == datetime.min.time():
        value = value.date()
    if isinstance(value, date):
        return str(value)
    if isinstance(value, str):
        return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), value)
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
