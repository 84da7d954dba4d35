"""Simulations: the order is ASReview's and a naive reference's, all is found, and the files say what happened."""

import csv
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from in_process import cells, here

from layersel.data.reviews.demo import Demo
from layersel.data.reviews.records import Record, Review
from layersel.data.reviews.report import ReadReport
from layersel.errors import UserError
from layersel.metrics.discovery import discovery_metrics
from layersel.tasks.screening.heads.elas_u4 import ElasU4
from layersel.tasks.screening.heads.examples import Examples
from layersel.tasks.screening.heads.head import Head
from layersel.tasks.screening.heads.nearest import Nearest
from layersel.tasks.screening.heads.pool import Pool
from layersel.tasks.screening.options import Screening
from layersel.tasks.screening.problem import ScreeningProblem, record_text
from layersel.tasks.screening.simulation.comparison import Comparison
from layersel.tasks.screening.simulation.options import ReplaySimulation
from layersel.tasks.screening.simulation.replay import Replay, batch_sizes, draw_priors, replay

ASREVIEW = [22, 296, 185, 69, 29, 34, 33, 253, 258, 213, 209, 246, 245, 149, 196, 121, 250, 68, 129, 126, 280, 197, 11]
ASREVIEW += [98, 40, 174, 55, 133, 192, 205, 173, 125, 124, 123, 277, 143, 96, 216, 217, 271, 153, 259, 118, 236, 23]
ASREVIEW += [97, 41, 167, 141, 166, 162, 208, 21, 77]
"""What `asreview simulate` (3.0.8, ELAS u4) reads of the embedded review after --prior-idx 7 0."""
ASREVIEW_LOSS, ASREVIEW_NDCG = 0.013392857142857142, 0.9409253277081246
HEADER = ["record_id", "title", "abstract", "included"]


def made(n: int = 40) -> tuple[Pool, torch.Tensor]:
    """A pool of random vectors in which the included ones are close to each other, and its labels."""
    generator = torch.Generator().manual_seed(1)
    labels = (torch.rand(n, generator=generator) < 0.25).long()
    labels[:2] = torch.tensor([1, 0])
    vectors = torch.randn(n, 5, generator=generator) + 1.5 * labels[:, None]
    return Pool(vectors, [f"record {number}" for number in range(n)]), labels


def answers(pool: Pool, labels: torch.Tensor) -> Examples:
    """The records of a pool with their labels."""
    return Examples(pool.vectors_ND, labels, pool.texts)


def test_elas_u4_reads_in_the_order_of_asreview() -> None:
    """With a new ranking after each record, to the last included one; the metrics are what ASReview says of it."""
    records = Demo().load().records
    labels = torch.tensor([record.label for record in records])
    pool = Pool(torch.zeros(len(records), 1), [record_text(record, " ") for record in records])
    done = replay(ElasU4(), pool, answers(pool, labels), [7, 0], batch_sizes(1, 0))
    assert done.order == ASREVIEW
    assert done.rounds == list(range(1, len(ASREVIEW) + 1))
    rest = [index for index in range(len(records)) if index not in (7, 0)]
    metrics = discovery_metrics(done.scores(labels, rest), labels[rest])
    assert (metrics["loss"], metrics["ndcg"]) == pytest.approx((ASREVIEW_LOSS, ASREVIEW_NDCG))


@pytest.mark.parametrize(("batch", "growth"), [(1, 0.0), (3, 0.5)])
def test_each_ranking_learns_from_all_that_is_read(batch: int, growth: float) -> None:
    """The order is that of cosines which are computed anew, by NumPy, before each batch; all included are found."""
    pool, labels = made()
    units = pool.units.numpy()
    known, expected, sizes = [0, 1], list[int](), batch_sizes(batch, growth)
    while int(labels[known].sum()) < int(labels.sum()):
        included = [index for index in known if labels[index] == 1]
        scores = np.sort(units @ units[included].T, axis=1)[:, -3:].mean(axis=1)
        read = [index for index in np.argsort(-scores, kind="stable") if index not in known][: next(sizes)]
        expected += map(int, read)
        known += read
    done = replay(Nearest(), pool, answers(pool, labels), [0, 1], batch_sizes(batch, growth))
    assert done.order == expected
    assert done == replay(Nearest(), pool, answers(pool, labels), [0, 1], batch_sizes(batch, growth))


def test_batches_grow() -> None:
    """By a tenth of themselves, rounded up, as AutoTAR's do: by 1 up to 11; not by what is only float noise."""
    assert list(islice(batch_sizes(1, 0.1), 12)) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13]
    assert list(islice(batch_sizes(100, 0.07), 2)) == [100, 107]
    assert list(islice(batch_sizes(4, 0), 3)) == [4, 4, 4]


def test_a_reading_that_ends_early() -> None:
    """The last batch is cut; the unread count as later than all that was read, the included ones of them last."""
    pool, labels = made()
    done = replay(Nearest(), pool, answers(pool, labels), [0, 1], batch_sizes(4, 0), most=6)
    assert done.rounds == [1, 1, 1, 1, 2, 2]
    rest = list(range(2, len(labels)))
    scores = dict(zip(rest, done.scores(labels, rest).tolist(), strict=True))
    ranked = sorted(rest, key=lambda index: -scores[index])
    assert ranked[:6] == done.order
    unread = [int(labels[index]) for index in ranked[6:]]
    assert unread == sorted(unread)
    assert Replay([3], [1]).scores(torch.tensor([1, 0, 1, 0]), [1, 2, 3]).tolist() == [-1, -2, 0]


def test_priors_are_drawn(global_rng_untouched: None) -> None:
    """So many of each class, the same for the same generator, and fewer are a subset."""
    labels = made()[1]

    def drawn(included: int, excluded: int, seed: int = 0) -> list[int]:
        return draw_priors(labels, included, excluded, torch.Generator().manual_seed(seed))

    assert labels[drawn(3, 5)].tolist() == [1] * 3 + [0] * 5
    assert drawn(3, 5) == drawn(3, 5) != drawn(3, 5, seed=1)
    assert set(drawn(1, 2)) < set(drawn(3, 5))


def of_labels(labels: Sequence[int | None]) -> Review:
    """A review."""
    records = tuple(Record(f"r{number}", "T", "", label) for number, label in enumerate(labels))
    return Review("small", records, ReadReport(records=len(records)))


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([0, 0, None], {}, "expected included records to find, but small has none; give a review that is labelled"),
        (
            [1, 0, 0],
            {},
            r"simulation\.included: expected at most 0 of the 1 records that are included in small, but .*1",
        ),
        ([1, 1, 0], {"excluded": 2}, r"simulation\.excluded: expected at most 1 of the 1 records .* but got 2"),
        ([1, 1, 0, None], {"prior_ids": ["r9"]}, r"simulation\.prior_ids: .*labelled records, such as r0, but got r9"),
        ([1, 1, 0, None], {"prior_ids": ["r3"]}, r"simulation\.prior_ids: .*labelled records, such as r0, but got r3"),
    ],
)
def test_reviews_that_cannot_be_replayed(labels: list[int | None], options: dict[str, Any], message: str) -> None:
    """One line says why, before a model is loaded."""
    with pytest.raises(UserError, match=message):
        ReplaySimulation(**options).replayed(of_labels(labels))


def test_records_without_a_label_are_left_out() -> None:
    """And it is said how many."""
    left = ReplaySimulation().replayed(of_labels([1, None, 1, 0, None]))
    assert [record.id for record in left.records] == ["r0", "r2", "r3"]
    assert left.report.notes == ("2 records without a label are left out, as their reading cannot be replayed",)


def written(folder: Path) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """The rows of order.csv and the content of metrics.json."""
    with (folder / "order.csv").open(encoding="utf-8-sig") as file:
        return list(csv.DictReader(file)), json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def review(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of 60 records, the first 4 of them unlabelled."""
    path = tmp_path_factory.mktemp("review") / "review.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(HEADER)
        for number, record in enumerate(Demo().load().records[:60]):
            rows.writerow([f"r{number}", record.title, record.abstract, "" if number < 4 else record.label])
    return path


def test_a_pretrained_encoder_is_simulated(
    tiny_model_folder: Path, review: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """All heads start from the same priors and find all; curves, metrics and order agree; again, the same order."""
    model = ["model=minilm", f"model.path={tiny_model_folder}", "model.max_length=32", "trainer=cpu"]
    command = [*model, "data=table", f"data.path={review}", "simulation=replay", "task/head=svm", "seed=3"]
    assert here("evaluate.py", *command, f"out={tmp_path / 'one'}") == 0
    said = capfd.readouterr().out
    assert "4 records without a label are left out" in said
    assert "no adapter is trained: only the head learns" in said
    assert here("evaluate.py", *command, "simulation.heads=[]", f"out={tmp_path / 'two'}") == 0
    assert all((tmp_path / "one" / f"recall.{form}").stat().st_size > 1000 for form in ("png", "svg"))
    rows, numbers = written(tmp_path / "one")
    assert written(tmp_path / "two")[0] == [row for row in rows if row["head"] == "svm"]
    labels = {f"r{number}": record.label for number, record in enumerate(Demo().load().records[4:60], start=4)}
    priors = numbers["priors"]
    assert [labels[prior] for prior in priors] == [1, 0]
    assert list(numbers["heads"]) == ["svm", "nearest", "elas_u4"]
    for head, metrics in numbers["heads"].items():
        own = [row for row in rows if row["head"] == head]
        assert [row["record_id"] for row in own if row["round"] == "0"] == priors
        read = [row["record_id"] for row in own if row["round"] != "0"]
        assert sum(labels[name] or 0 for name in [*priors, *read]) == sum(label or 0 for label in labels.values())
        places = [place for place, name in enumerate(read, start=1) if labels[name] == 1]
        assert metrics["atd"] == pytest.approx(sum(places) / len(places))
        assert metrics["n_read"] == len(read)
        assert own[1 + places[0]]["recall"] == f"{1 / len(places):.5f}"


@pytest.mark.parametrize(
    ("head", "options", "message"),
    [
        (
            Nearest(),
            {"prior_ids": ["r0", "r1", "r2"]},
            r"expected included records to find, but all are priors \(named by",
        ),
        (Nearest(), {"prior_ids": ["r2"]}, r"simulation\.prior_ids: expected an included record among them"),
        (ElasU4(), {"excluded": 0, "heads": []}, "the head elas_u4 learns from excluded records too, but no prior is"),
        (Nearest(), {"heads": ["best_layer"]}, r"simulation\.heads=best_layer: expected the vectors of several layers"),
    ],
)
def test_priors_and_heads_that_do_not_fit(head: Head, options: dict[str, Any], message: str) -> None:
    """One line says why, before a text is encoded."""
    review = of_labels([1, 1, 0, 0])
    problem = ScreeningProblem(Screening(head=head), review, [], range(4))
    texts = SimpleNamespace(texts=[record.id for record in review.records])
    subject: Any = SimpleNamespace(backbone=SimpleNamespace(n_parts=1), texts=texts)
    with pytest.raises(UserError, match=message):
        Comparison.of(ReplaySimulation(**options), problem, subject, frozenset(), 0)


def test_what_a_run_has_learnt_from_are_the_priors(
    small_cell: list[str], review: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """No others are drawn, as the adapter knows these labels; a run on all labels of a file measures nothing."""
    rows = list(csv.DictReader(review.open(encoding="utf-8")))
    part = tmp_path / "part.csv"
    with part.open("w", newline="", encoding="utf-8") as file:
        half = csv.DictWriter(file, HEADER)
        half.writeheader()
        half.writerows(row | ({} if number < 30 else {"included": ""}) for number, row in enumerate(rows))
    assert here("train.py", *small_cell, f"data.path={part}", "task.shots=null", f"output={tmp_path / 'runs'}") == 0
    said = capfd.readouterr().out
    assert "26 labelled records to learn from; none is left to test on, so there are no metrics; 34 are ranked" in said
    assert "awss@95" not in said
    (run,) = cells(tmp_path / "runs")
    out = tmp_path / "out"
    command = [f"run={run}", "data=table", f"data.path={review}", "simulation=replay", "trainer=cpu"]
    assert here("evaluate.py", *command, "simulation.heads=[]", "simulation.most=5", f"out={out}") == 0
    assert "26 priors" in (said := capfd.readouterr().out)
    assert "what the model has learnt from" in said
    assert set(written(out)[1]["priors"]) == {row["record_id"] for row in rows[4:30]}
