"""The rows of a file of texts, in any of the forms that they come in."""

import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from layersel.data.delimited import parse_delimited
from layersel.data.encoding import decode
from layersel.data.header import Wanted
from layersel.data.packing import known_extension, read_unpacked
from layersel.errors import UserError

EXTENSIONS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".xlsx", ".txt")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
DOCUMENT = "text"
"""The column of the documents of a plain text."""


@dataclass(frozen=True, slots=True)
class TextRows:
    """Rows as they are written.

    Attributes:
        form: What they were read as, such as `csv` (any delimiter) or `jsonl`.
        columns: Names of all columns, in order.
        rows: Column → value of each row; a row may lack columns. Values of JSON and Parquet are numbers, lists, … too.
        encoding: The encoding of a text file; empty where the form states it.
        classes: Column → names of its classes, where the column holds their numbers and the file says so.
        notes: What the reader has guessed or left out, a line each.
        empty: Rows without any value, which were left out.
    """

    form: str
    columns: list[str]
    rows: list[dict[str, Any]]
    encoding: str = ""
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    empty: int = 0


def read_rows(path: Path, wanted: Wanted, encoding: str | None = None) -> TextRows:
    """Reads a file, recognised by its extension.

    Args:
        path: The file, packed or not.
        wanted: Whether names of columns are those that are looked for, which finds the header of a table.
        encoding: The encoding of a text file; None: recognised.

    Raises:
        UserError: The file cannot be read, is damaged or has no rows.
    """
    extension = known_extension(path, EXTENSIONS)
    raw = read_unpacked(path)
    if extension == ".xlsx":
        from layersel.data.workbook import parse_workbook

        table = parse_workbook(raw, str(path), wanted)
        found = TextRows("xlsx", table.columns, [dict(row) for row in table.rows], notes=table.notes)
    elif extension == ".parquet":
        found = _parquet(raw, str(path))
    else:
        found = _text(raw, str(path), extension, wanted, encoding)
    if not found.rows:
        header = f"only a header ({', '.join(found.columns)})" if found.columns else "none"
        raise UserError(f"{path}: expected rows, but found {header}; check the file")
    return found


def class_names(features: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Returns the names of the classes of each column, from the features that the package `datasets` writes.

    Example:
        >>> class_names({"text": {"_type": "Value"}, "label": {"names": ["no", "yes"], "_type": "ClassLabel"}})
        {'label': ('no', 'yes')}
    """
    labels = {
        column: feature["names"]
        for column, feature in features.items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }
    return {column: tuple(names) for column, names in labels.items()}


def documents(text: str) -> list[str]:
    r"""Returns the documents of a plain text, which empty lines separate; in a text without these each line is one.

    Example:
        >>> documents("One,\nto its end.\n\n \nTwo.\n")
        ['One,\nto its end.', 'Two.']
    """
    lines = re.split(r"\r\n|\r|\n", text.strip())  # others, such as U+2028, stand within documents
    if all(line.strip() for line in lines):
        return [line.rstrip() for line in lines]
    found: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            found[-1].append(line.rstrip())
        elif found[-1]:
            found.append([])
    return ["\n".join(lines) for lines in found if lines]


def _text(raw: bytes, source: str, extension: str, wanted: Wanted, encoding: str | None) -> TextRows:
    decoded = decode(raw, source, encoding)
    text = decoded.text.replace("\ufeff", "")
    if extension == ".txt":
        rows = [{DOCUMENT: document} for document in documents(text)]
        return TextRows("plain text", [DOCUMENT] if rows else [], rows, decoded.encoding, notes=decoded.guesses)
    if extension in (".csv", ".tsv"):
        table = parse_delimited(text, source, wanted)
        own = [dict(row) for row in table.rows]
        notes = (*decoded.guesses, *table.notes)
        return TextRows("csv", table.columns, own, decoded.encoding, notes=notes, empty=table.empty)
    objects, notes = _json(text, source) if extension == ".json" else (_json_lines(text, source), ())
    columns = list(dict.fromkeys(column for own in objects for column in own))
    form = extension.removeprefix(".")
    return TextRows(form, columns, objects, decoded.encoding, notes=(*decoded.guesses, *notes))


def _json_lines(text: str, source: str) -> list[dict[str, Any]]:
    # not splitlines(): values may hold other line ends, such as U+2028
    lines = enumerate(text.split("\n"), start=1)
    return [_object(line, f"{source}, line {number}") for number, line in lines if line.strip()]


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: expected a JSON object, but got {_cut(line)} ({error}); write one a line") from error
    if not isinstance(content, dict):
        raise UserError(f"{where}: expected a JSON object, but got {_cut(line)}; write one a line")
    _check_characters(content, line, where)
    return content


def _check_characters(content: Any, text: str, where: str) -> None:
    """Refuses halves of characters, which no tokenizer takes: texts that were cut in UTF-16 end in one."""
    if _SURROGATE.search(text) is None:
        return
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start].encode("unicode_escape").decode()
        raise UserError(f"{where}: expected whole characters, but got half of one ({half}); remove it") from error


def _json(text: str, source: str) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Returns the objects of a list, of the only list of objects within an object, or of lines."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
            return _json_lines(text, source), ()
        raise UserError(f"{source}: expected JSON, but it cannot be read ({error}); export it again") from error
    _check_characters(content, text, source)
    if _of_objects(content):
        return content, ()
    lists = [name for name, value in content.items() if _of_objects(value)] if isinstance(content, dict) else []
    if len(lists) != 1:
        got = f"an object of {', '.join(content)}" if isinstance(content, dict) else _cut(text)
        raise UserError(
            f"{source}: expected a list of JSON objects, but got {got}; write one list, or an object a line"
        )
    others = [repr(name) for name in content if name != lists[0]]
    note = f"rows are those of {lists[0]!r}" + (f"; not read: {', '.join(others)}" if others else "")
    return content[lists[0]], (note,)


def _of_objects(content: Any) -> bool:
    return isinstance(content, list) and all(isinstance(own, dict) for own in content)


def _parquet(raw: bytes, source: str) -> TextRows:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(io.BytesIO(raw))
        rows = table.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{source}: cannot be read as Parquet ({_first_line(error)}); write it again") from error
    return TextRows("parquet", table.column_names, rows, classes=_stored_classes(table.schema.metadata or {}, source))


def _stored_classes(metadata: Mapping[bytes, bytes], source: str) -> dict[str, tuple[str, ...]]:
    """Returns the names of classes that the package `datasets` has stored in a file."""
    stored = metadata.get(b"huggingface")
    if stored is None:
        return {}
    try:
        return class_names(json.loads(stored)["info"]["features"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{source}: the names of its classes cannot be read ({error!r}); write it again") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _cut(text: str) -> str:
    short = text.strip()[:40]
    return repr(short) + ("…" if len(text.strip()) > len(short) else "")


def listed(names: Iterable[str], most: int = 12) -> str:
    """Returns names for one line, cut where they are long or many.

    Example:
        >>> listed(["id", "text", "label"], most=2)
        'id, text, …'
    """
    own = [" ".join(name.split()) or "''" for name in names]
    shown = [name if len(name) <= 40 else name[:40] + "…" for name in own[:most]]
    return ", ".join(shown + ["…"] * (len(own) > most)) or "none"
