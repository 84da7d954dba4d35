"""Rankings as files: complete, in order, whole, and readable by us, by rispy and by a spreadsheet."""

import csv
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import rispy
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import load_workbook

from layersel.data.reviews.demo import Demo
from layersel.data.reviews.records import Record
from layersel.data.reviews.table import Table
from layersel.errors import UserError
from layersel.tasks.screening.ranking import rank, write_ranking

RECORDS = (
    Record(
        "7",
        "=SUM(A1)",
        "Aim,\nmethod; “result”",
        1,
        {"authors": "A, B; C, D", "year": "2004.0", "doi": "10.1/x"},
    ),
    Record(
        "8",
        "Étude",
        "",
        0,
        {"Country": "NL", "rank": "3", "score": "0.5", "title": "old", "notes": "mine; ASReview_relevant"},
    ),
    Record(
        "9",
        "-omics",
        "Text",
        None,
        {"keywords": "a; b", "TY": "BOOK", "SN": "1234", "journal": "J", "pmid": "5"},
    ),
)


def words(path: Path) -> list[str]:
    """All words of a ranking, whatever their order."""
    if path.suffix == ".xlsx":
        return sorted(str(value) for row in load_workbook(path).active.iter_rows(values_only=True) for value in row)
    return sorted(path.read_text(encoding="utf-8").split())


@given(st.lists(st.floats(allow_nan=False), max_size=30))
def test_rank_is_a_stable_sort(scores: list[float]) -> None:
    """Every index once, scores never rise, equal scores keep their order."""
    order = rank(scores, len(scores))
    assert sorted(order) == list(range(len(scores)))
    assert all((scores[a], -a) >= (scores[b], -b) for a, b in pairwise(order))


def test_csv_columns_and_order(tmp_path: Path) -> None:
    """Rank first, score and label last, all fields between; earlier ranks go, clashing names are numbered."""
    write_ranking(tmp_path / "r.csv", RECORDS, [0.5, 0.9, 0.5])
    with (tmp_path / "r.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    first = ["rank", "record_id", "title", "abstract", "authors", "year", "doi"]
    assert list(rows[0])[:7] == first
    assert list(rows[0])[-2:] == ["score", "included"]
    assert [(row["rank"], row["record_id"], row["score"], row["included"]) for row in rows] == [
        ("1", "8", "0.9", "0"),
        ("2", "7", "0.5", "1"),
        ("3", "9", "0.5", ""),
    ]
    assert (rows[0]["title_2"], rows[0]["Country"], rows[1]["title"]) == ("old", "NL", "=SUM(A1)")


@pytest.mark.parametrize("extension", ["csv", "ris", "xlsx"])
def test_our_reader_reads_it_back(tmp_path: Path, extension: str) -> None:
    """Ids, titles, labels come back in the order of the ranking; abstracts up to line breaks."""
    path = tmp_path / f"r.{extension}"
    write_ranking(path, RECORDS, [1, 3, 2])
    back = Table(path=str(path)).load()
    assert back.report.notes == ()
    expected = [RECORDS[1], RECORDS[2], RECORDS[0]]
    assert [record.id for record in back.records] == [record.id for record in expected]
    assert [record.title for record in back.records] == [record.title for record in expected]
    assert back.labels == [0, None, 1]
    assert [record.abstract.split() for record in back.records] == [record.abstract.split() for record in expected]
    assert back.records[2].fields["authors"] == "A, B; C, D"


def test_rispy_reads_it_back(tmp_path: Path) -> None:
    """Standard tags, clean years, a note with rank and score and ASReview's label note; stale ones gone."""
    write_ranking(tmp_path / "r.ris", RECORDS, [1, 3, 2])
    first, second, third = rispy.loads((tmp_path / "r.ris").read_text(encoding="utf-8"))
    assert (first["id"], first["title"]) == ("8", "Étude")
    assert first["notes"] == ["mine; Country: NL; title: old", "layersel rank 1, score 3.0", "ASReview_irrelevant"]
    assert (first["custom4"], first["custom8"]) == ("layersel rank 1", "layersel score 3.0")
    assert (second["type_of_reference"], second["issn"], second["accession_number"]) == ("BOOK", "1234", "5")
    assert (third["authors"], third["year"], third["doi"]) == (["A, B", "C, D"], "2004", "10.1/x")


@pytest.mark.parametrize("extension", ["csv", "ris", "xlsx"])
def test_ranking_of_a_ranking(tmp_path: Path, extension: str) -> None:
    """Written, read and written again with the same scores, the file is the same."""
    once, twice = tmp_path / f"once.{extension}", tmp_path / f"twice.{extension}"
    write_ranking(once, RECORDS, [3, 2, 1])
    write_ranking(twice, Table(path=str(once)).load().records, [3, 2, 1])
    assert words(once) == words(twice)


@pytest.mark.parametrize("extension", ["csv", "ris", "xlsx"])
def test_demo_review_survives(tmp_path: Path, extension: str) -> None:
    """All 300 real records are there once."""
    review = Demo().load()
    path = tmp_path / f"ranking.{extension}"
    write_ranking(path, review.records, [float(record.label or 0) for record in review.records])
    back = Table(path=str(path)).load()
    assert {record.id for record in back.records} == {record.id for record in review.records}
    assert back.report.records == 300
    assert back.labels == [1] * 43 + [0] * 257


def test_no_records(tmp_path: Path) -> None:
    """An empty ranking is a header."""
    write_ranking(tmp_path / "r.csv", [], [])
    assert (tmp_path / "r.csv").read_text(encoding="utf-8-sig").startswith("rank,record_id,title,abstract,score")


@pytest.mark.parametrize(
    ("name", "scores", "message"),
    [
        ("r.pdf", [1, 2, 3], r"ranking: expected one of \*.csv, \*.ris, \*.xlsx, but got 'r.pdf'"),
        ("r.csv", [1, 2], "scores: expected one for each of 3 records, but got 2"),
        ("r.csv", [1, float("nan"), 3], "scores: expected numbers, but got NaN for record 2 of 3"),
        ("file/r.csv", [1, 2, 3], "expected a folder or nothing there, but got a file; remove it"),
    ],
)
def test_refusals_leave_nothing(tmp_path: Path, name: str, scores: list[float], message: str) -> None:
    """A wrong name, scores that do not fit and a folder that cannot be written are one-line errors."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=message):
        write_ranking(tmp_path / name, RECORDS, scores)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_workbook_computes_nothing(tmp_path: Path) -> None:
    """Titles that begin like a formula stay texts; rank, score and label are numbers."""
    write_ranking(tmp_path / "r.xlsx", RECORDS, [3, 2, float("-inf")])
    table = list(load_workbook(tmp_path / "r.xlsx").active.iter_rows())
    header = [cell.value for cell in table[0]]
    title, score = table[1][header.index("title")], table[1][header.index("score")]
    assert (title.value, title.data_type, score.value, score.data_type) == ("=SUM(A1)", "s", 3, "n")
    assert table[3][header.index("score")].value == "-inf"


def test_a_text_too_long_for_a_cell_is_refused(tmp_path: Path) -> None:
    """A workbook's cell ends after 32,767 characters; nothing is cut in silence, and nothing is left behind."""
    records = [Record("1", "T", "a" * 32_767), Record("2", "T", "a" * 32_768)]
    write_ranking(tmp_path / "whole.xlsx", records[:1], [1])
    assert len(Table(path=str(tmp_path / "whole.xlsx")).load().records[0].abstract) == 32_767
    with pytest.raises(UserError, match=r"at most 32767 characters in a cell of \.xlsx, but got 32768 .*; write \.csv"):
        write_ranking(tmp_path / "cut.xlsx", records, [2, 1])
    assert [path.name for path in tmp_path.iterdir()] == ["whole.xlsx"]


def test_a_ranking_has_one_column_of_decisions(tmp_path: Path) -> None:
    """Other labels of a record get a name that is not read as one, so that what a tool adds is newer than all."""
    fields = {"asreview_label": "0", "status": "Published", "decision": "no"}
    write_ranking(tmp_path / "r.csv", [Record("1", "A", "", 1, fields)], [1])
    back = Table(path=str(tmp_path / "r.csv")).load()
    assert (back.labels, back.report.columns["label"]) == ([1], "included")
    kept = back.records[0].fields
    assert (kept["asreview_label_2"], kept["decision_2"], kept["status"]) == ("0", "no", "Published")


@pytest.mark.parametrize("extension", ["csv", "ris", "xlsx"])
def test_labels_given_in_a_ranking_are_never_replaced(extension: str, tmp_path: Path) -> None:
    """A file with labels that the records do not have is kept beside the new one; one without is replaced."""
    path, new = tmp_path / f"next.{extension}", [Record(str(number), f"T{number}", "", None, {}) for number in range(3)]
    labelled = [replace(new[0], label=1), *new[1:]]
    write_ranking(path, labelled, [1, 2, 3])
    write_ranking(path, labelled, [3, 2, 1])
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    for number in (1, 2):
        write_ranking(path, labelled, [3, 2, 1])
        write_ranking(path, new, [3, 2, 1])
        aside = tmp_path / f"next.{number}.{extension}"
        assert Table(path=str(aside)).load().labels == [1, None, None]
        assert Table(path=str(path), label_level="none").load().labels == [None] * 3


@pytest.mark.parametrize("extension", ["csv", "ris"])
def test_rank_and_score_of_ones_own_stay(extension: str, tmp_path: Path) -> None:
    """Only numbers in both are those of an earlier ranking."""
    path = tmp_path / f"r.{extension}"
    write_ranking(path, [Record("1", "T", "", None, {"rank": "top", "score": "quality 7"})], [1])
    assert "quality 7" in path.read_text(encoding="utf-8-sig")
    write_ranking(path, [Record("1", "T", "", None, {"rank": "31", "score": "0.577"})], [1])
    assert "577" not in path.read_text(encoding="utf-8-sig")
