"""Training, ranking, screening in ASReview, and back: no decision is lost.

ASReview 3.0.8 needs pandas < 3, which the tests do not run with. So its exports are recorded:
`scripts/record_asreview_exports.py` had its web application screen `ranking.csv` and export. That ranking is what a
training writes today, which the first test holds.
"""

import csv
import json
from pathlib import Path

import pytest
from in_process import here

from layersel.data.reviews.records import Review
from layersel.data.reviews.table import Table

RECORDED = Path(__file__).parent / "exports" / "asreview"
DECISIONS: dict[str, int] = json.loads((RECORDED / "decisions.json").read_text(encoding="utf-8"))


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a ranking by their ids, without what another machine computes differently."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        found = [{**row, "rank": "", "score": ""} for row in csv.DictReader(file)]
    return sorted(found, key=lambda row: row["record_id"])


def test_the_recorded_ranking_is_what_a_training_writes(small_cell: list[str], tmp_path: Path) -> None:
    """The same columns in the same order, the same records, the labels that the library came with."""
    options = [*small_cell, f"data.path={RECORDED / 'library.csv'}", f"output={tmp_path}"]
    assert here("train.py", *options) == 0
    written = rows(next(tmp_path.rglob("ranking.csv")))
    recorded = rows(RECORDED / "ranking.csv")
    assert [list(row) for row in written] == [list(row) for row in recorded]
    assert written == recorded
    assert [row["included"] for row in written].count("") == 28


@pytest.mark.parametrize("extension", ["csv", "tsv", "xlsx"])
def test_all_decisions_come_back(extension: str) -> None:
    """ASReview's decisions win over the `included` that it was given, and the report says so."""
    review = Table(path=str(RECORDED / f"export.{extension}")).load()
    assert len(review.records) == 32
    assert {record.id: record.label for record in review.records} == {
        record.id: DECISIONS[record.id] for record in review.records
    }
    assert review.report.columns["label"] == "asreview_label"
    assert "labels are also in 'included': it fills 0 that 'asreview_label' leaves empty, 0 disagree" in told(review)


def test_all_decisions_come_back_from_ris() -> None:
    """ASReview drops the ids of a table in its RIS; the titles tell the records."""
    ids = {row["title"]: row["record_id"] for row in rows(RECORDED / "ranking.csv")}
    review = Table(path=str(RECORDED / "export.ris")).load()
    assert [record.label for record in review.records] == [DECISIONS[ids[record.title]] for record in review.records]
    assert len(review.records) == 32


def test_the_option_decides() -> None:
    """The labels that the library came with are still there."""
    review = Table(path=str(RECORDED / "export.csv"), label_column="included").load()
    assert (review.report.included, review.report.excluded, review.report.unlabelled) == (2, 2, 28)


def test_what_was_screened_is_learnt_from(small_cell: list[str], tmp_path: Path) -> None:
    """The export trains the next model as it is, and its ranking has one column of decisions."""
    options = [*small_cell, f"data.path={RECORDED / 'export.csv'}", f"output={tmp_path}"]
    assert here("train.py", *options) == 0
    ranking = rows(next(tmp_path.rglob("ranking.csv")))
    assert {row["record_id"]: int(row["included"]) for row in ranking} == {
        row["record_id"]: DECISIONS[row["record_id"]] for row in ranking
    }
    assert "asreview_label" not in ranking[0]


def told(review: Review) -> str:
    """What is printed on a review."""
    return "\n".join(review.lines())
