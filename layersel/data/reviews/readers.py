"""A file of records in any of the formats that databases, reference managers and screening tools export."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from layersel.data.delimited import parse_delimited
from layersel.data.encoding import decode
from layersel.data.packing import known_extension, read_unpacked
from layersel.data.reviews.columns import has_titles, names_only
from layersel.data.reviews.tagged import BEGINNINGS, dialect_of, parse_tagged
from layersel.errors import UserError

_TABLES = (".csv", ".tsv")
_TAGGED = (".ris", ".nbib", ".ciw", ".enw", ".ovd")
_SELF_DESCRIBED = (".xlsx", ".xml")
EXTENSIONS = (*_TABLES, ".xlsx", *_TAGGED, ".txt", ".bib", ".xml")

# what Embase calls "CSV, fields by row"
_FIELD_A_ROW = re.compile(r'^"?TITLE"?[,;\t].*\r?\n"?AUTHOR NAMES"?[,;\t]', re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class RawRecords:
    """A file's records as they are written there.

    Attributes:
        format: `csv` (any delimiter), `xlsx`, `bibtex`, `endnote-xml` or the name of a tagged dialect.
        encoding: The file's encoding; empty where the format states it.
        columns: Names of all columns, in order.
        rows: Column → value of each record, in order; a record lacks the columns that it has no value for.
        notes: What the reader has guessed or left out, a line each.
    """

    format: str
    encoding: str
    columns: list[str]
    rows: list[dict[str, str]]
    notes: tuple[str, ...] = ()


def read_records(path: Path, encoding: str | None = None) -> RawRecords:
    """Reads a file of records, recognised by its extension and its content.

    Args:
        path: The file, packed or not.
        encoding: The encoding of a text file; None: recognised.

    Raises:
        UserError: The file cannot be read, is damaged or has no records.
    """
    extension = known_extension(path, EXTENSIONS)
    raw = read_unpacked(path)
    if not raw.strip():
        raise UserError(f"{path}: expected records, but the file is empty; export it again")
    if extension not in _SELF_DESCRIBED:
        return _text_records(raw, str(path), extension, encoding)
    unused = () if encoding is None else (f"states its own encoding; data.encoding={encoding} is not used",)
    return _self_described(raw, str(path), extension, unused)


def _self_described(raw: bytes, source: str, extension: str, notes: tuple[str, ...]) -> RawRecords:
    if extension == ".xml":
        from layersel.data.reviews.endnote_xml import parse_endnote_xml

        return _records("endnote-xml", "", parse_endnote_xml(raw, source), notes)
    from layersel.data.workbook import parse_workbook

    table = parse_workbook(raw, source, has_titles, names_only)
    rows = _some(table.rows, table.columns, source)
    return RawRecords("xlsx", "", table.columns, rows, (*notes, *table.notes))


def _text_records(raw: bytes, source: str, extension: str, encoding: str | None) -> RawRecords:
    decoded = decode(raw, source, encoding)
    dialect = None if extension in (*_TABLES, ".bib") else dialect_of(decoded.text)
    if dialect is not None:
        rows, doubts = parse_tagged(decoded.text, dialect, source)
        return _records(dialect.name, decoded.encoding, rows, (*decoded.guesses, *doubts))
    text = decoded.text.replace("\ufeff", "")
    if not text.strip():
        raise UserError(f"{source}: expected records, but the file is empty; export it again")
    if extension == ".bib":
        from layersel.data.reviews.bibtex import parse_bibtex

        rows = parse_bibtex(text, source)
        if not rows:
            raise UserError(f"{source}: expected entries that begin with '@', but found none; export it again")
        return _records("bibtex", decoded.encoding, rows, decoded.guesses)
    if extension in _TAGGED:
        raise UserError(
            f"{source}: expected records that begin with one of {BEGINNINGS}, but found none; export it again"
        )
    if text.lstrip().startswith("<"):
        raise UserError(f"{source}: expected a table or tagged records, but got markup; export it in a form of its own")
    if _FIELD_A_ROW.search(text) is not None:
        raise UserError(f"{source}: expected a record a row, but got a field a row; export the fields by column")
    table = parse_delimited(text, source, has_titles, names_only)
    rows = _some(table.rows, table.columns, source)
    return RawRecords("csv", decoded.encoding, table.columns, rows, (*decoded.guesses, *table.notes))


def _records(name: str, encoding: str, rows: list[dict[str, str]], notes: tuple[str, ...] = ()) -> RawRecords:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return RawRecords(name, encoding, columns, rows, notes)


def _some(rows: list[dict[str, str]], columns: Sequence[str], source: str) -> list[dict[str, str]]:
    if not rows:
        header = f"only a header ({', '.join(columns)})" if columns else "none"
        raise UserError(f"{source}: expected records, but found {header}; export it again")
    return rows
