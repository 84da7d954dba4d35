"""Makes the dataset from the rows of files: columns, labels, splits, and what was left out and doubled."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from layersel.data.texts.columns import FORMS, MESSAGES, PROMPT, TEXT, TextColumns, recognise_columns
from layersel.data.texts.conversations import read_conversation
from layersel.data.texts.examples import TEST, TRAIN, VALIDATION, Example, TextDataset
from layersel.data.texts.labels import Labels, numbered_labels, read_labels
from layersel.data.texts.rows import TextRows, listed
from layersel.errors import UserError
from layersel.terminal.progress import progress
from layersel.terminal.tables import counted

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development", "eval"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}
"""How splits are called in files → in a dataset."""

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of one file, or of one split.

    Attributes:
        where: What they are called in errors and notes; the name of the file.
        rows: The rows.
        split: The split that they all belong to; None if they do not say, or if a column does.
    """

    where: str
    rows: TextRows
    split: str | None = None


@dataclass(frozen=True, slots=True)
class _Row:
    """One row that can be learnt from.

    Attributes:
        content: What the example has beside its label and split.
        label: The label as it is written.
        split: The split that it belongs to.
        where: Where it stands.
    """

    content: dict[str, Any]
    label: Any
    split: str | None
    where: str


def assemble(
    name: str,
    parts: Sequence[Part],
    chosen: Mapping[str, str | None],
    forms: Collection[str] = FORMS,
    labels: str = "auto",
    classes: Sequence[str] = (),
) -> TextDataset:
    """Returns the dataset that the rows of files hold.

    Args:
        name: The name of the dataset.
        parts: The rows; the columns of the first decide which are read.
        chosen: Role → column named by the user; None or absent: it is recognised by its name.
        forms: What may be read: `text`, `prompt`, `messages`.
        labels: `auto`, `classes` or `numbers`.
        classes: Names of the classes, where labels are their numbers and the files do not name them.

    Raises:
        UserError: Columns are not found or more than one fits, a value is none that can be read, or no row is left.
    """
    columns = recognise_columns(parts[0].rows.columns, chosen, forms)
    splits, split_notes = _split_column(parts, columns, chosen)
    rows, left_out = _rows(parts, columns, splits)
    if not rows:
        why = "; ".join(_left_out_lines(left_out))
        raise UserError(f"{parts[0].where}: expected rows to learn from, but found none ({why}); name other columns")
    found = _labels(rows, columns, parts, labels, classes)
    labelled = zip(rows, found.values, strict=True)
    examples = tuple(Example(**own.content, label=label, split=own.split) for own, label in labelled)
    notes = [_read_line(parts, columns, splits), *_part_notes(parts), *split_notes, *filter(None, [found.note])]
    notes += [*_left_out_lines(left_out), *_unlabelled_lines(examples, columns), *_repeated_lines(examples)]
    return TextDataset(name, examples, tuple(notes), found.classes)


def _rows(
    parts: Sequence[Part], columns: TextColumns, splits: str | None
) -> tuple[list[_Row], Mapping[str, list[str]]]:
    """Returns the rows that can be learnt from, and where the others stand, by the reason."""
    rows: list[_Row] = []
    left_out: dict[str, list[str]] = {}
    label = columns.roles.get("label")
    for part in parts:
        _check_columns(part, columns)
        for number, row in enumerate(progress(part.rows.rows, f"reading {part.where}"), start=1):
            where = f"{part.where}, row {number}"
            content = _content(row, columns, where)
            if isinstance(content, str):
                left_out.setdefault(content, []).append(f"row {number}" if len(parts) == 1 else where)
                continue
            split = part.split if splits is None else _split(row.get(splits), where, splits)
            rows.append(_Row(content, None if label is None else row.get(label), split, where))
    return rows, left_out


def _check_columns(part: Part, columns: TextColumns) -> None:
    """Refuses a further file that lacks a column of the first one; labels may be lacking."""
    for role, column in columns.roles.items():
        if role not in ("label", "input", "split") and column not in part.rows.columns:
            raise UserError(f"{part.where}: expected the column {column!r}, but found {listed(part.rows.columns)}")


def _content(row: Mapping[str, Any], columns: TextColumns, where: str) -> dict[str, Any] | str:
    """Returns what the example of a row has beside its label and split, or why the row is left out."""
    texts = {
        role: _text(row.get(column), f"{where}, column {column!r}")
        for role, column in columns.roles.items()
        if role in ("text", "pair", "prompt", "input", "response")
    }
    if columns.form == TEXT:
        if not all(text.strip() for text in texts.values()):
            return "without a text" if len(texts) == 1 else "without one of the two texts"
        return {"text": texts["text"], "pair": texts.get("pair")}
    if columns.form == PROMPT:
        missing = next((role for role in ("prompt", "response") if not texts[role].strip()), None)
        if missing is not None:
            return f"without a {missing}"
        about = texts.get("input", "")
        prompt = f"{texts['prompt']}\n\n{about}" if about.strip() else texts["prompt"]
        return {"prompt": prompt, "response": texts["response"]}
    column = columns.roles[MESSAGES]
    turns = read_conversation(row.get(column), f"{where}, column {column!r}")
    return turns if isinstance(turns, str) else {"messages": turns}


def _text(value: Any, where: str) -> str:
    """Returns a value as text; empty where there is none."""
    if isinstance(value, list | dict | bytes):
        raise UserError(f"{where}: expected a text, but got a {type(value).__name__}; name another column")
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(value)


def _labels(
    rows: Sequence[_Row], columns: TextColumns, parts: Sequence[Part], kind: str, classes: Sequence[str]
) -> Labels:
    column = columns.roles.get("label")
    if column is None:
        return Labels([None] * len(rows), (), "")
    values = [own.label for own in rows]
    wheres = [f"{own.where}, column {column!r}" for own in rows]
    names = next((part.rows.classes[column] for part in parts if column in part.rows.classes), tuple(classes))
    if names and kind != "numbers":
        return numbered_labels(values, wheres, names)
    return read_labels(values, wheres, kind)


def _split_column(
    parts: Sequence[Part], columns: TextColumns, chosen: Mapping[str, str | None]
) -> tuple[str | None, list[str]]:
    """Returns the column that says the split of a row, if it is read, and a line if it is not."""
    column = columns.roles.get("split")
    if column is None or chosen.get("split") is not None:
        return column, []
    if any(part.split is not None for part in parts):
        return None, [f"column {column!r} is not read: the files say which split is which"]
    strange = next((own.get(column) for own in parts[0].rows.rows if _split_name(own.get(column)) is None), None)
    if strange is not None:
        return None, [f"column {column!r} is not read: {str(strange)!r} is no split; data.split_column names another"]
    return column, []


def _split(value: Any, where: str, column: str) -> str:
    split = _split_name(value)
    if split is None:
        raise UserError(f"{where}, column {column!r}: expected one of {', '.join(SPLIT_NAMES)}, but got {value!r}")
    return split


def _split_name(value: Any) -> str | None:
    return SPLIT_NAMES.get(str(value).strip().lower())


def _read_line(parts: Sequence[Part], columns: TextColumns, splits: str | None) -> str:
    """Returns the line that says what was read from where, and which columns were not."""
    first = parts[0].rows
    read = {role: column for role, column in columns.roles.items() if role != "split" or column == splits}
    origin = [f"{role} from {column!r}" for role, column in read.items()]
    others = [column for column in first.columns if column not in columns.roles.values()]
    form = ", ".join(filter(None, [first.form, first.encoding]))
    return f"read as {form}; {', '.join(origin)}" + (f"; not read: {listed(others)}" if others else "")


def _part_notes(parts: Sequence[Part]) -> Iterator[str]:
    for part in parts:
        lines = [*part.rows.notes]
        if part.rows.empty:
            lines.append(f"{counted(part.rows.empty, 'empty row')} left out")
        yield from (line if len(parts) == 1 else f"{part.where}: {line}" for line in lines)


def _left_out_lines(left_out: Mapping[str, Sequence[str]]) -> list[str]:
    """Returns a line for each reason for which rows were left out, with the first of them."""
    lines = []
    for reason, wheres in left_out.items():
        shown = ", ".join(wheres[:_SHOWN]) + (", …" if len(wheres) > _SHOWN else "")
        lines.append(f"{counted(len(wheres), 'row')} {reason} left out ({shown})")
    return lines


def _unlabelled_lines(examples: Sequence[Example], columns: TextColumns) -> list[str]:
    if "label" not in columns.roles:
        return []
    counts: dict[str | None, int] = {}
    for own in examples:
        counts[own.split] = counts.get(own.split, 0) + (own.label is None)
    return [
        f"{counted(count, 'row')}{f' of {split}' if split else ''} without a label"
        for split, count in counts.items()
        if count
    ]


def _repeated_lines(examples: Sequence[Example]) -> list[str]:
    """Returns lines on rows that repeat an earlier one, in another split too, and on those that contradict it."""
    labels: dict[tuple[Any, ...], set[str | float | None]] = {}
    splits: dict[tuple[Any, ...], set[str | None]] = {}
    repeated = elsewhere = 0
    for own in examples:
        bare = (own.text, own.pair, own.prompt, own.response, own.messages)
        known = labels.setdefault(bare, set())
        seen = splits.setdefault(bare, set())
        if own.label in known:
            repeated += 1
            elsewhere += own.split not in seen
        known.add(own.label)
        seen.add(own.split)
    contradictory = sum(len(own - {None}) > 1 for own in labels.values())
    lines = []
    if repeated:
        across = f", {elsewhere} of them in another split" if elsewhere else ""
        lines.append(f"{counted(repeated, 'repetition')} of an earlier row{across}")
    if contradictory:
        lines.append(f"{counted(contradictory, 'text')} with more than one label")
    return lines
