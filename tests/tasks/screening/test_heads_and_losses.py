"""Every head and every loss by `train.py`, and every head again by `evaluate.py`."""

import csv
import json
from pathlib import Path

import pytest
from in_process import cells, here
from rankings import scores_of
from small_reviews import write_reviews

from layersel.config import choices

HEADS = choices("task/head")
OF_LAYERS = ["model.layers=all", "model.combine=concat"]
"""What a head that compares layers needs."""
LOSSES = choices("task/loss")


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A review to learn from, and another one to rank."""
    return write_reviews(tmp_path_factory.mktemp("reviews"), 2)


@pytest.mark.parametrize("head", HEADS)
def test_every_head_ranks_and_ranks_again(head: str, small_cell: list[str], reviews: list[str], tmp_path: Path) -> None:
    """`evaluate.py` finds the run's own metrics by the saved examples, and ranks records that nobody has labelled."""
    output = f"output={tmp_path / 'runs'}"
    own = OF_LAYERS if head == "best_layer" else []
    if "protocol" in head:
        (tmp_path / "question.txt").write_text("Which patients were measured?", encoding="utf-8")
        own = [f"data.protocol={tmp_path / 'question.txt'}"]
    assert here("train.py", *small_cell, f"data.path={reviews[0]}", f"task/head={head}", *own, output) == 0
    (run,) = cells(tmp_path / "runs")
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    out = tmp_path / "again.json"
    assert here("evaluate.py", f"run={run}", f"out={out}", "trainer=cpu") == 0
    again = json.loads(out.read_text(encoding="utf-8"))
    assert again["awss@95"] == pytest.approx(metrics["awss@95"])
    assert again["average_precision"] == pytest.approx(metrics["average_precision"])
    ranking = tmp_path / "other.csv"
    assert here("evaluate.py", f"run={run}", f"records={reviews[1]}", f"out={ranking}", "trainer=cpu") == 0
    with Path(reviews[1]).open(encoding="utf-8", newline="") as file:
        assert scores_of(ranking).keys() == {row["title"] for row in csv.DictReader(file)}


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_trains(loss: str, small_cell: list[str], reviews: list[str], tmp_path: Path) -> None:
    """The adapted model's vectors, and so its ranking, are no longer the pretrained one's."""
    options = [*small_cell, f"data.path={reviews[0]}", "task/head=nearest", "task.learning_rate=0.01"]
    assert here("train.py", *options, f"task/loss={loss}", f"output={tmp_path / 'adapted'}") == 0
    assert here("train.py", *options, "selection=none", f"output={tmp_path / 'base'}") == 0
    adapted, base = (cells(tmp_path / name)[0] / "ranking.csv" for name in ("adapted", "base"))
    assert scores_of(adapted).keys() == scores_of(base).keys()
    assert scores_of(adapted) != scores_of(base)


def test_other_heads_are_measured_as_if_they_ranked(small_cell: list[str], reviews: list[str], tmp_path: Path) -> None:
    """A head beside gives the numbers of a cell that it ranks, adapted and pretrained, also when evaluated again."""
    options = [*small_cell, f"data.path={reviews[0]}", f"output={tmp_path / 'runs'}"]
    assert here("train.py", *options, "task/head=nearest", "task.other_heads=[logistic,svm]") == 0
    (beside,) = cells(tmp_path / "runs")
    metrics = json.loads((beside / "metrics.json").read_text(encoding="utf-8"))
    for head in ("logistic", "svm"):
        assert here("train.py", *options, f"task/head={head}") == 0
        (own,) = (run for run in cells(tmp_path / "runs") if f"heads.{head}." in (run / "config.yaml").read_text())
        ranked = json.loads((own / "metrics.json").read_text(encoding="utf-8"))
        assert metrics[f"{head}_head/awss@95"] == ranked["awss@95"]
        assert metrics[f"base/{head}_head/awss@95"] == ranked["base/awss@95"]
    out = tmp_path / "again.json"
    assert here("evaluate.py", f"run={beside}", f"out={out}", "trainer=cpu") == 0
    again = json.loads(out.read_text(encoding="utf-8"))
    assert again["svm_head/awss@95"] == pytest.approx(metrics["svm_head/awss@95"])
