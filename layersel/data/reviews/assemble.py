"""Makes the review from a file's rows: columns, labels, unique ids, duplicates, and the report on them."""

import html
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from layersel.data.identifiers import complete_ids
from layersel.data.reviews.columns import (
    Columns,
    decision_columns,
    field_names,
    notes_columns,
    numbered_columns,
    recognise_columns,
)
from layersel.data.reviews.duplicates import drop_duplicates, find_duplicates, known_labels
from layersel.data.reviews.labels import (
    CONFLICT,
    MAYBE,
    all_decisions,
    is_empty_label,
    is_maybe,
    odd_decision,
    open_decision,
    parse_label,
    rayyan_decision,
)
from layersel.data.reviews.readers import RawRecords
from layersel.data.reviews.records import Record, Review
from layersel.data.reviews.report import ReadReport
from layersel.errors import one_of
from layersel.terminal.progress import progress

DUPLICATES = ("keep", "drop")
RAYYAN = "rayyan_label"

# what databases and data frames write where there is no text
_NO_TEXT = {"nan", "n/a", "no abstract available", "[no abstract available]"}
_ENTITY = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|[a-zA-Z][a-zA-Z0-9]*);")
_MARKUP = re.compile(r"</?(?:i|b|em|strong|sub|sup|u|sc|span|jats:\w+)\s*/?>", re.IGNORECASE)
_BREAKS = re.compile(r"(?:\s*</?(?:p|br|div|li|jats:(?:p|sec|title|list|list-item))\s*/?>\s*)+", re.IGNORECASE)


def assemble_review(
    name: str,
    raw: RawRecords,
    chosen: Mapping[str, str | None] | None = None,
    label_level: str = "full_text",
    duplicates: str = "keep",
    maybe: str = "unlabelled",
) -> Review:
    """Returns the review that a file's rows hold.

    Args:
        name: The name of the review.
        raw: The file as read.
        chosen: Role (title, abstract, id, label) → column; None or absent: recognised by name.
        label_level: Whose decision is the label: `full_text` or `abstract`.
        duplicates: `keep`, or `drop` all but the first record of a publication.
        maybe: What a decision for "maybe" counts as: `unlabelled`, `included` or `excluded`.

    Raises:
        UserError: Titles or labels are not found, or a label has an unknown value.
    """
    for option, got, allowed in (("duplicates", duplicates, DUPLICATES), ("maybe", maybe, MAYBE)):
        if got not in allowed:
            raise one_of(f"data.{option}", got, allowed)
    raw = _with_noted_decisions(raw)
    decisions = {column: verdict for column in raw.columns if (verdict := _decides(raw, column)) is not None}
    columns = recognise_columns(raw.columns, chosen or {}, label_level, decisions)
    given = [_cell(row, columns.roles, "id") for row in raw.rows]
    labels, lines = _labels(raw, columns, decisions, maybe)
    if not (chosen or {}).get("label"):
        lines += _not_taken(raw, columns, decisions, label_level)
    read = _records(raw, columns.roles, complete_ids(given), labels)
    groups = find_duplicates(read)
    kept = drop_duplicates(read, groups) if duplicates == "drop" else read
    present = [name for name in given if name]
    report = ReadReport(
        format=raw.format,
        encoding=raw.encoding,
        columns=columns.roles,
        **_counts(kept),
        missing_ids=len(given) - len(present),
        repeated_ids=len(present) - len(set(present)),
        duplicate_groups=len(groups),
        duplicate_records=sum(len(group) - 1 for group in groups),
        conflicting=_conflicts(read, groups),
        dropped=len(read) - len(kept),
        no_labels=_no_labels(raw, columns, decisions, label_level),
        notes=(*raw.notes, *_unread(columns), *lines, *_markup_note(raw, columns.roles, read)),
    )
    return Review(name, tuple(kept), report)


def _with_noted_decisions(raw: RawRecords) -> RawRecords:
    """Adds the column of Rayyan's decisions, which stand in its notes."""
    noted = notes_columns(raw.columns)
    if RAYYAN in raw.columns or not any("=>" in row.get(column, "") for column in noted for row in raw.rows):
        return raw
    rows = [{**row, RAYYAN: rayyan_decision(" | ".join(row.get(column, "") for column in noted))} for row in raw.rows]
    return replace(raw, columns=[*raw.columns, RAYYAN], rows=rows)


def _decides(raw: RawRecords, column: str) -> bool | None:
    return all_decisions(row.get(column, "") for row in raw.rows)


def _labels(
    raw: RawRecords, columns: Columns, decisions: Mapping[str, bool], maybe: str
) -> tuple[list[int | None], list[str]]:
    """Returns the label of each record, and lines on where it is from.

    It is that of the first column; where that one is empty, that of the next which holds nothing but decisions.
    """
    if "label" not in columns.roles:
        return [None] * len(raw.rows), []
    first = columns.roles["label"]
    further = [column for column in columns.others.get("label", []) if decisions.get(column, False)]
    labels, filled, disagreeing, undecided = [], dict.fromkeys(further, 0), dict.fromkeys(further, 0), Counter[str]()
    for number, row in enumerate(raw.rows, start=1):
        value = row.get(first, "")
        label = parse_label(value, f"row {number}, column {first!r}", maybe)
        undecided[open_decision(value)] += 1
        empty = is_empty_label(value)
        for column in further:
            other = parse_label(row.get(column, ""), f"row {number}, column {column!r}", maybe)
            if other is not None and label is None and empty:
                label, empty = other, False
                filled[column] += 1
            elif other is not None and label is not None and other != label:
                disagreeing[column] += 1
        labels.append(label)
    lines = [
        f"labels are also in {column!r}: it fills {filled[column]} that {first!r} leaves empty, "
        f"{disagreeing[column]} disagree and are not taken; data.label_column=NAME reads one column only"
        for column in further
    ]
    return labels, [*lines, *_undecided(undecided, maybe)]


def _undecided(counts: Mapping[str, int], maybe: str) -> list[str]:
    """Returns a line for each kind of open decisions, of which there are so many."""
    maybes = sum(count for word, count in counts.items() if is_maybe(word))
    others = {word: count for word, count in counts.items() if word not in ("", CONFLICT) and not is_maybe(word)}
    lines = []
    if maybes:
        lines.append(f"{maybes} of the decisions are 'maybe', read as {maybe}; data.maybe={'|'.join(MAYBE)} decides")
    if counts.get(CONFLICT):
        lines.append(f"{counts[CONFLICT]} of the decisions are conflicts between reviewers, read as unlabelled")
    if others:
        named = ", ".join(map(repr, sorted(others)))
        lines.append(f"{sum(others.values())} of the decisions are open ({named}), read as unlabelled")
    return lines


def _not_taken(raw: RawRecords, columns: Columns, decisions: Mapping[str, bool], label_level: str) -> list[str]:
    """Returns a line for each column of decisions that is not read: another word stands in it, or its name repeats."""
    named = decision_columns(raw.columns, label_level)
    lines = []
    for column in named:
        if decisions.get(column, True) or column == columns.roles.get("label"):
            continue
        odd = odd_decision(row.get(column, "") for row in raw.rows)
        if odd is not None:
            place, value = odd
            lines.append(
                f"the decisions in {column!r} are not read: row {place + 1} has {value!r}, which is none; correct it"
            )
    return lines + [
        f"the decisions in {column!r} are not read, as another column has that name; data.label_column decides"
        for column in numbered_columns(raw.columns, named)
        if decisions.get(column, False)
    ]


def _records(
    raw: RawRecords, roles: Mapping[str, str], ids: Sequence[str], labels: Sequence[int | None]
) -> list[Record]:
    names = field_names(raw.columns)
    used = {column for role, column in roles.items() if role != "id" or names[column] not in ("pmid", "doi")}
    fields = {column: field for column, field in names.items() if column not in (*used, RAYYAN)}

    def kept(row: Mapping[str, str], label: int | None) -> dict[str, str]:
        """Returns what a record has beside its text and label: decisions that are open, too, so that none is lost."""
        found = {fields[column]: value for column, value in row.items() if column in fields and value.strip()}
        decision = _cell(row, roles, "label")
        if label is None and decision != CONFLICT and open_decision(decision):
            found[names[roles["label"]]] = decision
        return found

    return [
        Record(
            id=name,
            title=plain_text(_cell(row, roles, "title")),
            abstract=plain_text(_cell(row, roles, "abstract")),
            label=label,
            fields=kept(row, label),
        )
        for row, name, label in zip(progress(raw.rows, "reading records"), ids, labels, strict=True)
    ]


def _cell(row: Mapping[str, str], roles: Mapping[str, str], role: str) -> str:
    return row.get(roles[role], "").strip() if role in roles else ""


def plain_text(value: str) -> str:
    """Returns a text without entities and markup of HTML, and nothing for a placeholder."""
    if value.lower().rstrip(".") in _NO_TEXT:
        return ""
    return _plain(value)


def _plain(value: str) -> str:
    if "&" not in value and "<" not in value:
        return value
    for _ in range(2):  # some exports escape what was escaped: &amp;lt;
        value = _ENTITY.sub(lambda entity: html.unescape(entity[0]), value)
    return _MARKUP.sub("", _BREAKS.sub(" ", value)).strip()


def _markup_note(raw: RawRecords, roles: Mapping[str, str], read: Sequence[Record]) -> list[str]:
    changed = sum(
        record.title not in ("", _cell(row, roles, "title"))
        or record.abstract not in ("", _cell(row, roles, "abstract"))
        for row, record in zip(raw.rows, read, strict=True)
    )
    of = len(raw.rows)
    return [f"{changed} of {of} records had HTML entities or markup, which are plain text now"] if changed else []


def _unread(columns: Columns) -> list[str]:
    return [
        f"{role} could also be {', '.join(map(repr, columns.others[role]))}, not read; data.{role}_column decides"
        for role in ("title", "abstract")
        if role in columns.others
    ]


def _no_labels(raw: RawRecords, columns: Columns, decisions: Mapping[str, bool], label_level: str) -> str:
    """Returns why no record has a label, and what to do; nothing if one may have."""
    if label_level == "none":
        return ""
    if "label" in columns.roles:
        label = columns.roles["label"]
        return "" if label in decisions else f"data.label_column: expected decisions, but {label!r} has none"
    taken = columns.roles.values()
    candidates = [repr(column) for column, decided in decisions.items() if decided and column not in taken]
    hint = f"; perhaps it is {' or '.join(candidates[:5])}" if candidates else ""
    return (
        f"data.label_column: expected a column of decisions, but found none by its name among "
        f"{', '.join(raw.columns)}; name it with data.label_column=NAME{hint}"
    )


def _conflicts(records: Sequence[Record], groups: Sequence[Sequence[int]]) -> tuple[tuple[str, ...], ...]:
    disputed = (group for group in groups if len(known_labels(records, group)) > 1)
    return tuple(tuple(records[index].id for index in group) for group in disputed)


def _counts(records: Sequence[Record]) -> dict[str, int]:
    labels = [record.label for record in records]
    return {
        "records": len(records),
        "included": labels.count(1),
        "excluded": labels.count(0),
        "unlabelled": labels.count(None),
        "missing_titles": sum(not record.title for record in records),
        "missing_abstracts": sum(not record.abstract for record in records),
    }
