"""When to stop reading: each rule against exact enumeration, what it promises in replays, and what is said."""

import re
from dataclasses import replace
from fractions import Fraction
from math import comb

import numpy as np
import pytest

from layersel.data.reviews.records import Record
from layersel.errors import UserError
from layersel.tasks.screening.stopping.advice import StoppingAdvice
from layersel.tasks.screening.stopping.certificate import positives_needed, positives_to_find
from layersel.tasks.screening.stopping.control import ControlSample, draw_control
from layersel.tasks.screening.stopping.heuristic import least_to_read as least_by_heuristic
from layersel.tasks.screening.stopping.hypergeometric import least_to_read, missed_target
from layersel.tasks.screening.stopping.reading import Reading, read_control, read_times

TARGETS = (0.5, 0.8, 0.9, 0.95, 0.99)
BUSCARPY = [0.6170432982577194, 0.786096256684492]


def enumerated_p(labels: list[int], n_records: int, recall: float) -> Fraction:
    """The smallest chance over all suffixes, each sum term by term in fractions."""
    tau, lowest = Fraction(str(recall)), Fraction(1)
    for i in range(1, len(labels) + 1):
        k, r, urn = sum(labels[-i:]), sum(labels), n_records - (len(labels) - i)
        missing = int(r / tau + 1 - (r - k))
        ways = [comb(missing, x) * comb(urn - missing, i - x) for x in range(min(k, i) + 1)] if missing <= urn else [0]
        lowest = min(lowest, Fraction(sum(ways), comb(urn, i)))
    return lowest


def small_readings(count: int = 150) -> list[tuple[list[int], int]]:
    """Labels of partly read reviews of up to 30 records, from none included to all."""
    draw = np.random.default_rng(0)
    readings = []
    for _ in range(count):
        n_records = int(draw.integers(1, 31))
        n_read = int(draw.integers(1, n_records + 1))
        readings.append(((draw.random(n_read) < draw.choice([0, 0.1, 0.4, 1])).astype(int).tolist(), n_records))
    return readings


@pytest.mark.parametrize("recall", TARGETS)
def test_the_test_is_the_enumerated_one(recall: float) -> None:
    """Over all suffixes, though only those behind an included record are looked at; 0 where the urn is too small."""
    for labels, n_records in small_readings():
        found = missed_target(labels, n_records, recall)
        assert found == pytest.approx(float(enumerated_p(labels, n_records, recall)), abs=1e-12), (labels, n_records)


def test_the_test_is_that_of_the_published_package() -> None:
    """Numbers that `calculate_h0` of buscarpy 0.0.2 gives."""
    labels = [1, 1, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, *[0] * 40]
    assert [missed_target(labels, 200, recall) for recall in (0.8, 0.95)] == pytest.approx(BUSCARPY, rel=1e-9)


@pytest.mark.parametrize(("recall", "alpha"), [(0.95, 0.05), (0.8, 0.2)])
def test_the_least_to_read_is_the_first_excluded_record_that_says_stop(recall: float, alpha: float) -> None:
    """One record before, the test does not; p only falls on the way; all read is enough, even of a single record."""
    for labels, n_records in small_readings(60):
        rest = n_records - len(labels)
        course = [float(enumerated_p([*labels, *[0] * more], n_records, recall)) for more in range(rest + 1)]
        assert course == sorted(course, reverse=True)
        assert course[rest] == 0
        expected = next(more for more, p in enumerate(course) if p < alpha)
        assert least_to_read(labels, n_records, recall, alpha) == expected
    assert missed_target([], 1, 0.95) == 1
    assert least_to_read([], 1, 0.95, 0.05) == 1


@pytest.mark.parametrize("bias", [1, 10])
def test_the_test_keeps_what_it_promises(bias: int) -> None:
    """Two looks at each of 1,000 orders stop below the target in α of them or fewer, though nothing corrects for two.

    Included records are drawn once or ten times as readily as others, as buscarpy's `generate_dataset` ranks.
    """
    draw, n_records, included, recall = np.random.default_rng(3), 400, 60, 0.8
    labels = (np.arange(n_records) < included).astype(int)
    keys = draw.exponential(size=(1000, n_records)) / np.where(labels == 1, bias, 1)
    stopped, missed = 0, 0
    for ranked in labels[np.argsort(keys, axis=1)]:
        looks = (ranked[:n_read] for n_read in (300, 340))
        read = next((read for read in looks if missed_target(read, n_records, recall) < 0.05), None)
        stopped += read is not None
        missed += read is not None and int(read.sum()) < recall * included
    assert stopped > 100
    assert missed / 1000 <= 0.05


def exact_to_find(positives: int, recall: float, confidence: float) -> int | None:
    """J by its definition, in fractions."""
    tau, cumulated = Fraction(str(recall)), Fraction(0)
    for j in range(1, positives + 1):
        cumulated += comb(positives, j - 1) * tau ** (j - 1) * (1 - tau) ** (positives - j + 1)
        if cumulated >= Fraction(str(confidence)):
            return j
    return None


@pytest.mark.parametrize("recall", TARGETS)
@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95])
def test_the_certificate_is_the_binomial_bound(recall: float, confidence: float) -> None:
    """J by enumeration; it grows with r, and is there from the least r that is said to be needed."""
    found = [positives_to_find(positives, recall, confidence) for positives in range(72)]
    assert found == [exact_to_find(positives, recall, confidence) for positives in range(72)]
    known = [j for j in found if j is not None]
    assert known == sorted(known)
    needed = positives_needed(recall, confidence)
    assert [j is not None for j in found] == [positives >= needed for positives in range(72)]


@pytest.mark.parametrize(("recall", "size"), [(0.95, 80), (0.8, 30), (0.8, 120)])
def test_the_certificate_holds(recall: float, size: int) -> None:
    """In 95 % of 1,000 draws of a sample of 240 included records' places, whatever ranking these are of."""
    draw, included = np.random.default_rng(2), 240
    to_find = positives_to_find(size, recall, 0.95)
    assert to_find is not None
    order = np.argsort(draw.random((1000, included)), axis=1)[:, :size]
    reached = np.sort(order, axis=1)[:, to_find - 1] + 1
    assert float((reached >= recall * included).mean()) >= 0.95


def test_the_heuristic_waits_for_each_of_its_conditions() -> None:
    """The most that one of them lacks, and never more records than there are."""
    assert least_by_heuristic([1, *[0] * 50], 51, 400, 50, 0.1, estimated=20) == 0
    assert least_by_heuristic([1, *[0] * 49], 50, 400, 50, 0.1, estimated=20) == 1
    assert least_by_heuristic([1, *[0] * 50], 51, 600, 50, 0.1, estimated=20) == 9
    assert least_by_heuristic([1, *[0] * 50], 51, 400, 50, 0.1, estimated=30.4) == 10
    assert least_by_heuristic([0, 0, 1], 3, 400, 50, 0.1) == 50
    assert least_by_heuristic([], 0, 1, 50, 0.1) == 1
    assert least_by_heuristic([1], 1, 1, 50, 0.1) == 0
    assert least_by_heuristic([0] * 5, 7, 100, 5, 0.07) == 0  # 7 % of 100 are 7, in floats a little more


def records_of(labels: str, **columns: str) -> list[Record]:
    """Records a, b, c, …: 1 included, 0 excluded, ? not labelled; a column has a character for each, a dot for none."""
    known = {"1": 1, "0": 0, "?": None}
    return [
        Record("abcdefghijkl"[place], "", "", known[label])
        if not columns
        else Record(
            "abcdefghijkl"[place],
            "",
            "",
            known[label],
            {name: values[place] for name, values in columns.items() if values[place] != "."},
        )
        for place, label in enumerate(labels)
    ]


def reading_of(records: list[Record], learnt: dict[str, int], **given: list[float] | list[bool] | None) -> Reading:
    """Their reading where the ranking has them as they stand and a text is its record's name."""
    texts = [record.id for record in records]
    times, control = given.get("times"), given.get("control")
    return Reading.of(records, texts, range(len(records)), learnt, times, control)  # type: ignore[arg-type]


def test_what_the_run_has_learnt_from_is_read_first() -> None:
    """Whether or not the file has it, with the file's label where there is one, and it is not ranked again."""
    reading = reading_of(records_of("100?"), {"b": 1, "z": 1})
    assert (reading.n_records, reading.n_read, reading.labels) == (5, 4, [0, 1, 1, 0])
    assert (reading.n_learnt, reading.learnt_included, reading.learnt_first) == (2, 1, 2)
    assert (reading.ranked, reading.unread, reading.below) == ([1, 0], [False, False, True], 0)


def test_rows_of_excluded_records_that_nobody_read_say_nothing() -> None:
    """In whichever order a file has what was learnt from, or the sample: a sorted file is no reading without a find."""
    records, learnt = records_of("?" * 4), {f"i{number}": 1 for number in range(9)}
    learnt |= {f"e{number}": 0 for number in range(200)}
    orders = (learnt, dict(reversed(learnt.items())))
    for reading in (reading_of(records, own) for own in orders):
        assert reading.labels == [0] * 200 + [1] * 9
    assert missed_target([1] * 9 + [0] * 200, 213, 0.95) < 0.05 < missed_target([0] * 200 + [1] * 9, 213, 0.95)
    sampled = reading_of(records_of("1100?0"), {}, control=[True, False, True, True, False, False])
    assert sampled.labels == [0, 0, 1, 1, 0]


def test_a_sample_before_the_ranking_misleads_the_test_no_more_than_it_promises() -> None:
    """In 5 % of 200 reviews or fewer, with a look after every ten of the likeliest records; before, in nearly all."""
    draw, n_records, included, recall, stopped, missed = np.random.default_rng(5), 300, 40, 0.8, 0, 0
    for _ in range(200):
        labels = np.sort(draw.permutation(n_records) < included)[::-1].astype(int)  # by label, then ranked with errors
        labels = labels[np.argsort(-labels - draw.normal(scale=0.5, size=n_records), kind="stable")]
        sample = set(draw.choice(n_records, 200, replace=False).tolist())
        unread = [place for place in range(n_records) if place not in sample]
        for read in range(0, len(unread), 10):
            known = sample | set(unread[:read])
            own = [Record(f"{n}", "", "", int(label) if n in known else None) for n, label in enumerate(labels)]
            reading = reading_of(own, {}, control=[n in sample for n in range(n_records)])
            if missed_target(reading.labels, n_records, recall) < 0.05:
                stopped += 1
                missed += sum(reading.labels) < recall * included
                break
    assert stopped > 100
    assert missed <= 10


def test_the_order_of_reading() -> None:
    """That of the column; without one the control sample first, then the ranking, of which gaps are counted."""
    records = records_of("1?0010")
    sample = [False, False, False, False, True, True]
    assert reading_of(records, {}).labels == [1, 0, 0, 1, 0]
    assert reading_of(records, {}).below == 4
    sampled = reading_of(records, {}, control=sample)
    assert (sampled.labels, sampled.ranked, sampled.below) == ([0, 1, 1, 0, 0], [1, 0, 0], 2)
    assert (sampled.control_size, sampled.control_unread, sampled.control_places) == (2, 0, [5])
    timed = reading_of(records, {}, control=sample, times=[5, 0, 4, 3, 2, 1])
    assert (timed.labels, timed.ranked) == ([0, 1, 0, 0, 1], [0, 0, 1])
    learnt = reading_of(records, {"c": 0, "f": 1, "y": 1, "z": 0}, times=[5, None, 4, 3, 2, None])
    assert (learnt.labels, learnt.ranked, learnt.learnt_first) == ([0, 0, 1, 1, 0, 0, 1], [1, 0, 1], 3)


def test_times_are_numbers_or_dates() -> None:
    """The one or the other for each labelled record that the run has not learnt from; anything else is one line."""
    records = records_of("10?1", when="12..")
    assert read_times(records, "when", list("abcd"), {"d"}) == [1, 2, None, None]
    assert read_times(records, "when", list("abcd"), {"b", "d"}) == [1, 2, None, None]
    days = ["2024-05-02T10:00", "2024-05-01", "", "never"]
    dated = [replace(record, fields={"when": day}) for record, day in zip(records, days, strict=True)]
    times = read_times(dated, "when", list("abcd"), {"d"})
    assert times[0] > times[1]  # type: ignore[operator]
    assert times[2:] == [None, None]
    with pytest.raises(
        UserError, match=r"^stopping\.order_column: expected a number, .* record d has 'never'; correct"
    ):
        read_times(dated, "when", list("abcd"), set())
    with pytest.raises(UserError, match=r"record d has ''"):
        read_times(records, "when", list("abcd"), set())
    with pytest.raises(UserError, match=r"^stopping\.order_column: expected one of when, but got 'order'$"):
        read_times(records, "order", list("abcd"), set())


def test_the_control_column_has_zeros_and_ones() -> None:
    """Each record has one; a gap or anything else is one line, and so is a column that is not there."""
    assert read_control(records_of("10?", control="101"), "control") == [True, False, True]
    for values, got in (("10x", "'x'"), ("10.", "''")):
        with pytest.raises(UserError, match=rf"^stopping\.control_column: expected 0 or 1 .* record c has {got}; corr"):
            read_control(records_of("10?", control=values), "control")
    with pytest.raises(UserError, match=r"^stopping\.control_column: expected one of control, but got 'sample'$"):
        read_control(records_of("10?", control="101"), "sample")


def test_a_draw_depends_on_the_texts_alone() -> None:
    """In any order of the records it is the same, it is part of a larger one, and has none of what is learnt from."""
    texts = [f"text{number}" for number in range(40)]
    learnt = {"text3", "text4"}
    drawn = {texts[index] for index in draw_control(texts, learnt, 15, seed=1)}
    backwards = texts[::-1]
    assert {backwards[index] for index in draw_control(backwards, learnt, 15, seed=1)} == drawn
    assert drawn < {texts[index] for index in draw_control(texts, learnt, 20, seed=1)}
    assert drawn != {texts[index] for index in draw_control(texts, learnt, 15, seed=2)}
    assert len(drawn) == 15
    assert not learnt & {texts[index] for index in draw_control(texts, learnt, 38, seed=1)}
    with pytest.raises(
        UserError, match=r"^stopping\.size: expected 38 records or fewer, but got 39; there are no more$"
    ):
        draw_control(texts, learnt, 39, seed=1)


WANTED = StoppingAdvice(recall=0.5, confidence=0.75, consecutive=3)


@pytest.mark.parametrize(
    ("labels", "control", "learnt", "says", "stop", "more"),
    [
        ("1???", None, {}, r"there is no sample; one with 2 or more .*\(stopping=control\)", False, None),
        ("1???", "1010", {}, r"read the 1 unread records of the sample first", False, None),
        ("1?1?", "1010", {"a": 1}, r"none, as the run has learnt from 1 records of the sample", False, None),
        ("1?0?", "1010", {}, r"not possible with 1 .* sample of 2; it needs 2, about 4 random records", False, None),
        ("1?000?", "101110", {}, r"it needs 2, more than the 6 records are likely to have", False, None),
        ("0?0?", "1010", {}, r"not possible with 0 included records in the sample of 2; it needs 2$", False, None),
        ("1?1?", "1010", {}, r"1 of the sample's 2 .* reached, 2 must be; read 1 more, down to place 3", False, 1),
        ("101?", "1010", {}, r"2 of the sample's 2 .* reached, 2 must be; certified, may stop", True, 0),
    ],
)
def test_what_the_certificate_says(
    labels: str, control: str | None, learnt: dict[str, int], says: str, stop: bool, more: int | None
) -> None:
    """Whether it can be given at all is said before anything is read; then how far the ranking is to be read."""
    sample = None if control is None else [mark == "1" for mark in control]
    advice = WANTED.of(reading_of(records_of(labels), learnt, control=sample))
    (line,) = (line for line in advice.lines if line.startswith("certificate (50 % recall at 75 % confidence"))
    assert re.search(says, line)
    assert (advice.values["certificate"]["stop"], advice.values["certificate"]["more"]) == (stop, more)


def test_what_is_said_of_a_review() -> None:
    """Each tier with what it promises; the sample's share of included records is the heuristic's estimate."""
    sample = [True, True, *[False] * 10]
    reading = reading_of(records_of("1000????????"), {"z": 1}, control=sample)
    advice = WANTED.of(reading)
    assert advice.lines[:2] == [
        "5 of 13 records are read, 2 of them included; 1 that the run has learnt from count as read first",
        "order of reading: the control sample, then as ranked here; stopping.order_column=NAME names the true one",
    ]
    needs = "the last 3 excluded, 10 % read, twice the estimated 7 included ones read"
    assert advice.lines[2] == f"heuristic (SAFE: {needs}), which promises no recall: read on; 8 more at least"
    more = least_to_read([1, 0, 1, 0, 0], 13, 0.5, 0.25)
    p = missed_target([1, 0, 1, 0, 0], 13, 0.5)
    assert advice.values["hypergeometric"] == {"stop": False, "more": more, "p": p, "alpha": 0.25}
    assert f"recall of 50 % is not shown yet (p = {p:.2g}); {more} more at least, all excluded" in advice.lines[3]
    assert advice.values | {"n_records": 13, "n_read": 5, "n_included": 2, "recall": 0.5} == advice.values


def test_a_review_that_is_read_to_the_end() -> None:
    """There is nothing to stop, with included records or without."""
    for labels in ("0110", "0000", "1"):
        advice = WANTED.of(reading_of(records_of(labels), {}))
        assert advice.lines[1:] == ["nothing is left to read: all included records are found"]
        assert [advice.values[tier]["more"] for tier in ("heuristic", "hypergeometric")] == [0, 0]


def test_options_out_of_range() -> None:
    """One line for each."""
    wrong = StoppingAdvice(recall=1.0, confidence=0.0, consecutive=0, least_share=1.5)
    assert [line.split(":")[0] for line in wrong.problems()] == [
        "stopping.recall",
        "stopping.confidence",
        "stopping.consecutive",
        "stopping.least_share",
    ]
    assert ControlSample(size=0).problems() == ["stopping.size: expected 1 or more, but got 0; --help says how many"]
    assert StoppingAdvice().problems() == ControlSample(size=1).problems() == []
