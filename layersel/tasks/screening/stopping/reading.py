"""How far a team has read a review: what it knows, in which order, and what a ranking has left."""

from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from math import isfinite

from layersel.data.reviews.records import Record
from layersel.errors import UserError, one_of

_FLAGS = {"0": False, "0.0": False, "1": True, "1.0": True}


@dataclass(frozen=True)
class Reading:
    """A partly read review, in the order of a ranking and in that of the reading.

    Attributes:
        n_learnt: How many records the run has learnt from.
        learnt_included: How many of these are included.
        learnt_first: How many of these count as read before all others, as nobody says when.
        labels: Of all records read, in the order of reading. Where that is not known, which is among those that the run
            has learnt from and within the control sample, excluded ones stand before included ones: a row of excluded
            records that nobody has read in a row would speak for stopping.
        ranked: Of the records among them that were read in ranked order, in the order of reading.
        unread: For each record of the ranking, the best first, whether it has no label.
        control: For each record of the ranking, whether the control sample has it; None without one.
        included: For each record of the ranking, whether it is known to be included.
        learnt_control: How many records of the control sample the run has learnt from.
        below: How many of `ranked` stand below an unread record in the ranking.
    """

    n_learnt: int
    learnt_included: int
    learnt_first: int
    labels: list[int]
    ranked: list[int]
    unread: list[bool]
    control: list[bool] | None
    included: list[bool]
    learnt_control: int
    below: int

    @property
    def n_records(self) -> int:
        """Returns how many records there are."""
        return self.n_learnt + len(self.unread)

    @property
    def n_read(self) -> int:
        """Returns how many records are read."""
        return len(self.labels)

    @property
    def control_size(self) -> int:
        """Returns how many records of the ranking the control sample has."""
        return sum(self.control or [])

    @property
    def control_unread(self) -> int:
        """Returns how many of these have no label."""
        return sum(sampled and unread for sampled, unread in zip(self.control or [], self.unread, strict=False))

    @property
    def control_places(self) -> list[int]:
        """Returns the place in the ranking, from 1, of each included record of the control sample."""
        marked = zip(self.control or [], self.included, strict=False)
        return [place for place, (sampled, included) in enumerate(marked, start=1) if sampled and included]

    @classmethod
    def of(
        cls,
        records: Sequence[Record],
        texts: Sequence[str],
        order: Sequence[int],
        learnt: Mapping[str, int],
        times: Sequence[float | None] | None,
        control: Sequence[bool] | None,
    ) -> "Reading":
        """Returns how far the records are read.

        Args:
            records: The review, without or with the records that the run has learnt from.
            texts: The fingerprint of each record's text.
            order: Indices of the records as the run ranks them, the best first.
            learnt: The label by the fingerprint of each record that the run has learnt from; one in `records` replaces
                it.
            times: When each record was read, None where nobody says, for those that the run has learnt from; None
                for all: the control sample first, then in the order of the ranking.
            control: Whether the control sample has each record; None without one.
        """
        known = dict(learnt)
        known |= {
            text: record.label
            for record, text in zip(records, texts, strict=True)
            if text in learnt and record.label is not None
        }
        ranking = [index for index in order if texts[index] not in learnt]
        sampled = [control is not None and control[index] for index in range(len(records))]
        read = [index for index in ranking if records[index].label is not None]
        places = {index: float(place) for place, index in enumerate(ranking)}
        when = times or [None if sampled[index] else places.get(index) for index in range(len(records))]
        of_learnt = {text: time for text, time in zip(texts, when, strict=True) if text in known and time is not None}
        moments = [(time, records[index].label or 0) for index in read if (time := when[index]) is not None]
        moments += [(time, known[text]) for text, time in of_learnt.items()]
        first = sorted(label for text, label in known.items() if text not in of_learnt)
        then = sorted(records[index].label or 0 for index in read if when[index] is None)
        last = [label for _, label in sorted(moments, key=lambda moment: moment[0])]
        in_order = sorted((index for index in read if not sampled[index]), key=lambda index: when[index] or 0.0)
        unread = [records[index].label is None for index in ranking]
        above = set(ranking[: unread.index(True) if True in unread else len(ranking)])
        return cls(
            n_learnt=len(learnt),
            learnt_included=sum(known.values()),
            learnt_first=len(first),
            labels=[*first, *then, *last],
            ranked=[records[index].label or 0 for index in in_order],
            unread=unread,
            control=None if control is None else [sampled[index] for index in ranking],
            included=[records[index].label == 1 for index in ranking],
            learnt_control=sum(sampled[index] for index in order if texts[index] in learnt),
            below=sum(index not in above for index in in_order),
        )


def column(records: Sequence[Record], option: str, name: str) -> list[str]:
    """Returns the values of a column of the file, empty where a record has none.

    Raises:
        UserError: No record has the column.
    """
    known = list(dict.fromkeys(field for record in records for field in record.fields))
    if name not in known:
        raise one_of(option, name, known)
    return [record.fields.get(name, "").strip() for record in records]


def has_control(records: Sequence[Record], name: str) -> bool:
    """Returns whether every record has 0 or 1 in a column of this name."""
    return all(record.fields.get(name, "").strip() in _FLAGS for record in records)


def read_control(records: Sequence[Record], name: str) -> list[bool]:
    """Returns whether each record belongs to the control sample.

    Raises:
        UserError: The column is missing or has other values than 0 and 1.
    """
    values = column(records, "stopping.control_column", name)
    for record, value in zip(records, values, strict=True):
        if value not in _FLAGS:
            raise UserError(
                f"stopping.control_column: expected 0 or 1 in {name!r} of each record, but record {record.id} has "
                f"{value!r}; correct it, or draw a sample with stopping=control"
            )
    return [_FLAGS[value] for value in values]


def read_times(
    records: Sequence[Record], name: str, texts: Sequence[str], learnt: Container[str]
) -> list[float | None]:
    """Returns when each labelled record was read, from numbers or from dates and times (ISO 8601).

    It is None for records without a label, and for those that the run has learnt from where the column has no time.

    Args:
        records: The review.
        name: The column.
        texts: The fingerprint of each record's text.
        learnt: Those that the run has learnt from.

    Raises:
        UserError: The column is missing, or has no such value for another labelled record.
    """
    values = column(records, "stopping.order_column", name)
    labelled = {
        record.id: (value, text in learnt)
        for record, text, value in zip(records, texts, values, strict=True)
        if record.label is not None
    }
    given = {record: value for record, (value, _) in labelled.items()}
    times = max(_parsed(given, float), _parsed(given, _timestamp), key=len)
    wrong = next((record for record, (_, is_learnt) in labelled.items() if not is_learnt and record not in times), None)
    if wrong is not None:
        raise UserError(
            f"stopping.order_column: expected a number, or else a date, in {name!r} of each labelled record, but "
            f"record {wrong} has {given[wrong]!r}; correct it, or leave the option out"
        )
    return [times.get(record.id) for record in records]


def _parsed(values: Mapping[str, str], parse: Callable[[str], float]) -> dict[str, float]:
    """Returns the finite numbers that `parse` makes of the values."""
    parsed = {}
    for record, value in values.items():
        with suppress(ValueError):
            parsed[record] = parse(value)
    return {record: number for record, number in parsed.items() if isfinite(number)}


def _timestamp(value: str) -> float:
    return datetime.fromisoformat(value).timestamp()
