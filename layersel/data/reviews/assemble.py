"""Makes the review from a file's rows: columns, labels, unique ids, duplicates, and the report on them."""

from collections.abc import Mapping, Sequence

from layersel.data.identifiers import complete_ids
from layersel.data.reviews.columns import field_names, recognise_columns
from layersel.data.reviews.duplicates import drop_duplicates, find_duplicates, known_labels
from layersel.data.reviews.labels import parse_label
from layersel.data.reviews.readers import RawRecords
from layersel.data.reviews.records import Record, Review
from layersel.data.reviews.report import ReadReport
from layersel.errors import one_of

DUPLICATES = ("keep", "drop")

# what databases and data frames write where there is no text
_NO_TEXT = {"nan", "n/a", "no abstract available", "[no abstract available]"}


def assemble_review(
    name: str,
    raw: RawRecords,
    chosen: Mapping[str, str | None] | None = None,
    label_level: str = "full_text",
    duplicates: str = "keep",
) -> Review:
    """Returns the review that a file's rows hold.

    Args:
        name: The name of the review.
        raw: The file as read.
        chosen: Role (title, abstract, id, label) → column; None or absent: recognised by name.
        label_level: Whose decision is the label: `full_text` or `abstract`.
        duplicates: `keep`, or `drop` all but the first record of a publication.

    Raises:
        UserError: Titles or labels are not found, or a label has an unknown value.
    """
    if duplicates not in DUPLICATES:
        raise one_of("data.duplicates", duplicates, DUPLICATES)
    roles = recognise_columns(raw.columns, chosen or {}, label_level)
    given = [_cell(row, roles, "id") for row in raw.rows]
    read = _records(raw, roles, complete_ids(given))
    groups = find_duplicates(read)
    kept = drop_duplicates(read, groups) if duplicates == "drop" else read
    present = [name for name in given if name]
    report = ReadReport(
        format=raw.format,
        encoding=raw.encoding,
        columns=roles,
        **_counts(kept),
        missing_ids=len(given) - len(present),
        repeated_ids=len(present) - len(set(present)),
        duplicate_groups=len(groups),
        duplicate_records=sum(len(group) - 1 for group in groups),
        conflicting=_conflicts(read, groups),
        dropped=len(read) - len(kept),
    )
    return Review(name, tuple(kept), report)


def _records(raw: RawRecords, roles: Mapping[str, str], ids: Sequence[str]) -> list[Record]:
    names = field_names(raw.columns)
    used = {column for role, column in roles.items() if role != "id" or names[column] not in ("pmid", "doi")}
    fields = {column: field for column, field in names.items() if column not in used}
    return [
        Record(
            id=name,
            title=_text(_cell(row, roles, "title")),
            abstract=_text(_cell(row, roles, "abstract")),
            label=parse_label(_cell(row, roles, "label"), f"row {number}, column {roles.get('label')!r}"),
            fields={fields[column]: value for column, value in row.items() if column in fields and value.strip()},
        )
        for number, (row, name) in enumerate(zip(raw.rows, ids, strict=True), start=1)
    ]


def _cell(row: Mapping[str, str], roles: Mapping[str, str], role: str) -> str:
    return row.get(roles[role], "").strip() if role in roles else ""


def _text(value: str) -> str:
    return "" if value.lower().rstrip(".") in _NO_TEXT else value


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
