"""Duplicates are found where that is safe, reported, and dropped on request only, never against a label."""

import pytest

from layersel.data.reviews.assemble import assemble_review
from layersel.data.reviews.duplicates import drop_duplicates, find_duplicates
from layersel.data.reviews.readers import RawRecords
from layersel.data.reviews.records import Record
from layersel.errors import UserError


def record(name: str, title: str = "", abstract: str = "", label: int | None = None, **fields: str) -> Record:
    """A record with these fields."""
    return Record(name, title, abstract, label, fields)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (record("1", "Sleep in PTSD.", "We  studied"), record("2", "sleep in ptsd", "We studied.")),
        (
            record("1", "Sleep", doi="10.1000/A"),
            record("2", "SLEEP", "Text", doi="https://doi.org/10.1000/a"),
        ),
        (record("1", "Sleep", pmid="123"), record("2", "Schlaf", pmid="123.0")),
    ],
)
def test_same_publication(one: Record, other: Record) -> None:
    """Same title and abstract, same title and DOI, or same PMID."""
    assert find_duplicates([one, record("x", "Else", "Else"), other]) == [[0, 2]]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (record("1"), record("2")),
        (record("1", "Editorial"), record("2", "Editorial")),
        (record("1", "Chapter 1", doi="10.4324/97802"), record("2", "Chapter 2", doi="10.4324/97802")),
        (record("1", "A", "Same text"), record("2", "B", "Same text")),
        (record("1", "A", pmid="nan"), record("2", "B", pmid="nan")),
        (record("1", "A", doi="-"), record("2", "A", doi="-")),
        (record("1", doi="10.1000/a"), record("2", doi="10.1000/a")),
        (record("1", "???", "..."), record("2", "!", ".")),
        (record("1", "A", pmid="0"), record("2", "B", pmid="0.0")),
    ],
)
def test_not_surely_the_same(one: Record, other: Record) -> None:
    """Empty records, common titles, chapters of one book and placeholders are not duplicates."""
    assert find_duplicates([one, other]) == []


def test_duplicates_chain() -> None:
    """A record that equals two others by different keys makes them one group."""
    a, b = record("a", "Sleep", "Text"), record("b", "Schlaf", pmid="7")
    both = record("c", "sleep", "text", pmid="7")
    assert find_duplicates([a, b, both]) == [[0, 1, 2]]


def test_drop_keeps_the_first_and_the_label() -> None:
    """One record stays, with the label that any of the group has."""
    records = [record("1", "T", "A"), record("2", "T", "A", label=1), record("3", "U", "A", label=0)]
    kept = drop_duplicates(records, find_duplicates(records))
    assert [(record.id, record.label) for record in kept] == [("1", 1), ("3", 0)]


def test_what_the_first_lacks_is_taken_from_its_copies() -> None:
    """The first copy's own title, abstract and fields stay; what is empty in it is not lost with the others."""
    copies = [record("1", "Sleep", pmid="7"), record("2", "Schlaf", "Text", pmid="7", year="2004")]
    copies.append(record("3", "", "Other", pmid="7", year="2005", url="u"))
    (kept,) = drop_duplicates(copies, find_duplicates(copies))
    assert kept == record("1", "Sleep", "Text", pmid="7", year="2004", url="u")


def test_conflicting_labels_are_reported_and_kept() -> None:
    """A publication labelled both ways is not decided by the order of the file."""
    rows = [{"title": "T", "abstract": "A", "included": label} for label in ("1", "0", "")]
    rows += [{"title": "U", "abstract": "B", "included": "0"}] * 2
    review = assemble_review("r", RawRecords("csv", "utf-8", list(rows[0]), rows), duplicates="drop")
    assert [record.id for record in review.records] == ["1", "2", "3", "4"]
    report = review.report
    assert (report.duplicate_groups, report.duplicate_records, report.dropped) == (2, 3, 1)
    assert report.conflicting == (("1", "2", "3"),)
    assert "labelled both ways: 1 = 2 = 3" in report.lines()


def test_kept_by_default() -> None:
    """Nothing is dropped unless asked for."""
    rows = [{"title": "T", "abstract": "A"}] * 3
    report = assemble_review("r", RawRecords("csv", "utf-8", ["title", "abstract"], rows)).report
    assert (report.records, report.duplicate_records, report.dropped) == (3, 2, 0)


def test_unknown_choice() -> None:
    """Only the two choices exist."""
    with pytest.raises(UserError, match=r"data.duplicates: expected one of keep, drop, but got 'merge'"):
        assemble_review("r", RawRecords("csv", "utf-8", ["title"], [{"title": "T"}]), duplicates="merge")
