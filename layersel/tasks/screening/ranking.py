"""A ranking for people and for the tools they screen with."""

import csv
import math
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from layersel.data.identifiers import unique_names
from layersel.data.reviews.assemble import assemble_review
from layersel.data.reviews.columns import names_decisions
from layersel.data.reviews.labels import all_decisions
from layersel.data.reviews.readers import read_records
from layersel.data.reviews.records import Record
from layersel.data.reviews.ris import earlier_ranking, ris_entry
from layersel.data.workbook import write_workbook
from layersel.errors import UserError, one_of
from layersel.files import atomic_path
from layersel.terminal.progress import progress
from layersel.terminal.tables import counted, note

_FIRST = ("authors", "year", "doi")
_OURS = ("rank", "record_id", "title", "abstract", "score", "included")


def write_ranking(path: Path, records: Sequence[Record], scores: Sequence[float]) -> None:
    """Write every record once, best score first; records of the same score keep their order.

    `.csv` and `.xlsx` have rank, id, title, abstract, the records' other columns, score and the label as `included`,
    under names that screening tools recognise. `.ris` has every field under its tag, rank and score in custom fields
    and in a note, and the label in ASReview's note.

    Raises:
        UserError: Another extension, scores that do not fit the records, or a file that cannot be written.
    """
    writers = {".csv": _write_csv, ".ris": _write_ris, ".xlsx": _write_workbook}
    writer = writers.get(path.suffix.lower())
    if writer is None:
        raise one_of("ranking", path.name, [f"*{extension}" for extension in writers])
    order = rank(scores, len(records))
    _keep_labels(path, records)
    try:
        with atomic_path(path) as draft:
            writer(draft, [records[index] for index in order], [float(scores[index]) for index in order])
    except OSError as error:
        raise UserError(f"ranking: cannot write {path} ({error}); choose another folder") from error


def _keep_labels(path: Path, records: Sequence[Record]) -> None:
    """Renames the file that is there if it has labels which the records lack: a team may have labelled a ranking.

    One that is no ranking is kept as well.
    """
    if not path.is_file():
        return
    known = {record.id: record.label for record in records}
    try:
        there = assemble_review(path.stem, read_records(path)).records
        lost = sum(record.label is not None and known.get(record.id) != record.label for record in there)
        what = f"had {counted(lost, 'label')} that the records do not have" if lost else ""
    except UserError:
        what = "was no ranking"
    if what:
        aside = next(new for place in count(1) if not (new := path.with_stem(f"{path.stem}.{place}")).exists())
        path.rename(aside)
        note(f"{path} {what}; it is now {aside}")


def rank(scores: Sequence[float], expected: int) -> list[int]:
    """Indices of the scores, highest first; ties keep their order.

    Raises:
        UserError: There are not as many as expected, or one is NaN, which has no rank.

    Example:
        >>> rank([0.1, 0.9, 0.1], expected=3)
        [1, 0, 2]
    """
    values = [float(score) for score in scores]
    if len(values) != expected:
        raise UserError(f"scores: expected one for each of {expected} records, but got {len(values)}")
    unranked = [row for row, value in enumerate(values, start=1) if math.isnan(value)]
    if unranked:
        raise UserError(f"scores: expected numbers, but got NaN for record {unranked[0]} of {expected}; train again")
    return sorted(range(expected), key=lambda index: -values[index])


def _write_csv(path: Path, records: Sequence[Record], scores: Sequence[float]) -> None:
    # values that begin with = + - @ stay as they are: a guard against formulas would alter titles and ids, by
    # which whatever imports the ranking finds its records again
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows(_table(records, scores))


def _write_workbook(path: Path, records: Sequence[Record], scores: Sequence[float]) -> None:
    write_workbook(path, _table(records, scores))


def _table(records: Sequence[Record], scores: Sequence[float]) -> Iterator[list[Any]]:
    columns = _field_columns(records)
    yield [*_OURS[:4], *columns.values(), *_OURS[4:]]
    ranked = zip(progress(records, "writing the ranking"), scores, strict=True)
    for place, (record, score) in enumerate(ranked, start=1):
        kept = [record.fields.get(field, "") for field in columns]
        label = "" if record.label is None else record.label
        yield [place, record.id, record.title, record.abstract, *kept, score, label]


def _field_columns(records: Sequence[Record]) -> dict[str, str]:
    """Returns field → its column.

    Rank and score of an earlier ranking are left out; names that clash are numbered, and so are those of other
    labels: `included` is the only one, and what a tool adds beside it is newer.
    """
    present = dict.fromkeys(name for record in records for name in record.fields)
    ranked = [record.fields for record in records if not {"rank", "score"}.isdisjoint(record.fields)]
    earlier = {"rank", "score"} if all(map(earlier_ranking, ranked)) else set()
    others = [name for name in present if name not in (*_FIRST, *earlier)]
    fields = [*(name for name in _FIRST if name in present), *others]
    taken = [*_OURS, *(name for name in fields if _is_label(name, records))]
    return dict(zip(fields, unique_names([*taken, *fields])[len(taken) :], strict=True))


def _is_label(name: str, records: Sequence[Record]) -> bool:
    return names_decisions(name) and all_decisions(record.fields.get(name, "") for record in records) is not False


def _write_ris(path: Path, records: Sequence[Record], scores: Sequence[float]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for place, (record, score) in enumerate(zip(records, scores, strict=True), start=1):
            file.write(ris_entry(record, place, score, len(records)))
