"""Texts out of a file: one a line, or a column of a table."""

import json
from pathlib import Path

from layersel.data.delimited import parse_delimited
from layersel.errors import UserError, one_of

TEXT = "text"
"""The name of the column if none is given."""


def read_texts(file: Path, column: str | None = None) -> list[str]:
    """Returns the texts of a file in its order; empty ones are left out.

    Args:
        file: UTF-8: `.txt` has a text a line, `.jsonl` a string or an object a line, `.csv` and `.tsv` a header.
        column: The column or key with the texts; None is `text`, or a table's only column.

    Raises:
        UserError: The file is not there, is none of these, or has no such column.
    """
    readers = {".txt": _lines, ".jsonl": _json_lines, ".csv": _table, ".tsv": _table}
    if file.suffix.lower() not in readers:
        raise UserError(f"texts: expected a file that ends in {', '.join(readers)}, but got {str(file)!r}")
    try:
        content = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"texts: cannot read {str(file)!r} ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"texts: expected UTF-8 in {str(file)!r}, but {error.reason} at byte {error.start}") from error
    found = readers[file.suffix.lower()](content, str(file), column)
    return [text.strip() for text in found if text.strip()]


def _lines(content: str, source: str, column: str | None) -> list[str]:
    if column is not None:
        raise UserError(f"column: expected none for {source!r}, which has a text a line, but got {column!r}")
    return content.split("\n")


def _json_lines(content: str, source: str, column: str | None) -> list[str]:
    return [
        _json_text(line, f"{source}, line {number}", column or TEXT)
        for number, line in enumerate(content.split("\n"), start=1)
        if line.strip()
    ]


def _json_text(line: str, place: str, key: str) -> str:
    try:
        content = json.loads(line)
    except ValueError as error:
        raise UserError(f"texts: {place}: expected JSON, but {error}") from error
    if isinstance(content, dict):
        if key not in content:
            raise one_of(f"column: {place}", key, content, "give column=NAME")
        content = content[key]
    if not isinstance(content, str):
        raise UserError(f"texts: {place}: expected a string, or an object with one, but got {content!r:.60}")
    return content


def _table(content: str, source: str, column: str | None) -> list[str]:
    table = parse_delimited(content, source, lambda names: (column or TEXT) in names)
    only = table.columns[0] if len(table.columns) == 1 else TEXT
    name = only if column is None else column
    if name not in table.columns:
        raise one_of(f"column: {source}", name, table.columns, "give column=NAME")
    return [row[name] for row in table.rows]
