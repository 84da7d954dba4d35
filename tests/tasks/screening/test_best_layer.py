"""The head that chooses a layer, against a plain search by leave-one-out written out with scikit-learn."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from in_process import cells, here
from rankings import scores_of
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.preprocessing import normalize
from small_reviews import write_reviews
from torch import Tensor

from layersel.backbone.pretrained import Pretrained
from layersel.data.reviews.demo import Demo
from layersel.tasks.screening.heads.best_layer import BestLayer
from layersel.tasks.screening.heads.examples import Examples, FittedHead
from layersel.tasks.screening.heads.fusion import Fusion
from layersel.tasks.screening.heads.head import Head
from layersel.tasks.screening.heads.logistic import Logistic
from layersel.tasks.screening.heads.nearest import Nearest
from layersel.tasks.screening.options import Screening

N, LEARNT, PARTS, WIDTH = 40, 12, 3, 5
LABELS = torch.tensor([int(record % (3 if record < LEARNT else 14) == 0) for record in range(N)])
VIEWS: dict[str, Head] = {"nearest": Nearest(), "logistic": Logistic()}


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """40 texts of the demo review."""
    return [f"{record.title} {record.abstract}" for record in Demo().load().records[:N]]


def vectors(telling: int, seed: int = 0) -> Tensor:
    """Three layers' vectors side by side; one of the layers tells the classes apart, the others are noise."""
    parts = torch.randn(PARTS, N, WIDTH, generator=torch.Generator().manual_seed(seed))
    parts[telling, :, 0] += 6 * LABELS
    return torch.cat(list(parts), dim=1)


def examples(vectors_ND: Tensor, texts: list[str], labels: Tensor = LABELS) -> Examples:
    """The first 12 records."""
    return Examples(vectors_ND[:LEARNT], labels[:LEARNT], texts[:LEARNT], n_parts=PARTS)


def by_hand(view: str, part: np.ndarray, train: list[int]) -> np.ndarray:
    """The scores of the view on one layer."""
    labels = LABELS.numpy()
    if view == "nearest":
        cosines = cosine_similarity(part, part[[record for record in train if labels[record] == 1]])
        return np.sort(cosines, axis=1)[:, -3:].mean(axis=1)
    model = LogisticRegression(max_iter=10_000, tol=1e-8).fit(normalize(part)[train], labels[train])
    return model.decision_function(normalize(part))


def error(view: str, part: np.ndarray) -> float:
    """The mean square of the share of the pool that a left-out included example is ranked behind."""
    included = [record for record in range(LEARNT) if LABELS[record] == 1]
    shares = []
    for left_out in included:
        scores = by_hand(view, part, [record for record in range(LEARNT) if record != left_out])
        rivals = [record for record in range(N) if record == left_out or record not in included]
        shares.append(np.mean(scores[rivals] >= scores[left_out]))
    return float(np.mean(np.square(shares)))


@pytest.mark.parametrize("telling", range(PARTS))
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("view", VIEWS)
def test_it_ranks_by_the_layer_that_finds_left_out_examples(
    view: str, seed: int, telling: int, texts: list[str]
) -> None:
    """Scores are those of the view on that layer alone."""
    made = vectors(telling, seed)
    parts = np.split(made.double().numpy(), PARTS, axis=1)
    best = int(np.argmin([error(view, part) for part in parts]))
    scores = FittedHead.fit(BestLayer(view=view), examples(made, texts)).scores(made, texts)
    np.testing.assert_allclose(scores.numpy(), by_hand(view, parts[best], list(range(LEARNT))), rtol=1e-5, atol=1e-7)
    if view == "nearest":
        assert best == telling


def test_of_equally_good_layers_the_last_one_ranks(texts: list[str]) -> None:
    """The same with one included example, which cannot be left out."""
    made = vectors(0)
    part = made[:, :WIDTH]
    alike = torch.cat([part, part[:, [1, 0, 2, 3, 4]], 2 * part], dim=1)  # turned and stretched: the same cosines
    few = torch.zeros(N, dtype=torch.long)
    few[0] = 1
    for own, labels in ((alike, LABELS), (made, few)):
        last = replace(examples(own, texts, labels), vectors_ND=own[:LEARNT, -WIDTH:], n_parts=1)
        expected = FittedHead.fit(Nearest(), last).scores(own[:, -WIDTH:], texts)
        found = FittedHead.fit(BestLayer(), examples(own, texts, labels)).scores(own, texts)
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("view", ["adaptive", "spreading_vectors", "fusion", "elas_u4"])
def test_any_head_is_a_view(view: str, texts: list[str]) -> None:
    """The head of one layer scores as its view does."""
    made = vectors(1)
    head = BestLayer(view=view)
    one = replace(examples(made, texts), n_parts=1)
    scores = FittedHead.fit(head, one).scores(made, texts)
    (own,) = head.components()
    assert torch.equal(scores, FittedHead.fit(own, one).scores(made, texts))
    assert head.needs_excluded == own.needs_excluded
    assert bool(FittedHead.fit(head, examples(made, texts)).scores(made, texts).isfinite().all())


def test_it_is_a_view_of_a_fusion_too(texts: list[str]) -> None:
    """Its layers reach it through the fusion."""
    made = vectors(1)
    fusion = Fusion(views=["best_layer", "elas_u4"])
    assert fusion.problems() == []
    assert fusion.compares_layers
    assert not Fusion().compares_layers
    scores = FittedHead.fit(fusion, examples(made, texts)).scores(made, texts)
    mixed = FittedHead.fit(fusion, replace(examples(made, texts), n_parts=1)).scores(made, texts)
    assert not torch.equal(scores, mixed)


def test_its_file_keeps_the_layers(texts: list[str], tmp_path: Path) -> None:
    """A loaded head ranks alike."""
    made = vectors(2)
    head = FittedHead.fit(BestLayer(), examples(made, texts))
    head.save(tmp_path / "head.safetensors")
    again = FittedHead.load(tmp_path / "head.safetensors", BestLayer())
    assert again.examples.n_parts == PARTS
    assert torch.equal(again.scores(made, texts), head.scores(made, texts))


@pytest.mark.parametrize("view", ["best_layer", "nothing"])
def test_what_is_no_view_is_refused(view: str) -> None:
    """The line names the heads that are views."""
    (line,) = BestLayer(view=view).problems()
    assert re.fullmatch(rf"task\.head\.view: expected one of adaptive, elas_u4, .*, but got '{view}'", line)


def test_it_needs_several_layers() -> None:
    """A model whose vectors are of one layer, or of a mean, is refused before anything runs."""
    task, model = Screening(head=BestLayer()), Pretrained(path="x", layers="all", combine="concat")
    assert task.model_refusal(model) is None
    assert Screening().model_refusal(replace(model, layers="last")) is None
    for other in (replace(model, layers="last"), replace(model, combine="mean"), replace(model, layers=[2])):
        assert re.search(r"task\.head=best_layer: expected .* give model\.layers=all", task.model_refusal(other) or "")


@pytest.mark.parametrize("head", ["best_layer", "adaptive"])
def test_a_saved_run_ranks_alike(head: str, small_cell: list[str], tmp_path: Path) -> None:
    """Its model, adapter, layers and head are restored: every record has the score that it had."""
    (review,) = write_reviews(tmp_path, 1, size=20)
    options = [*small_cell, f"data.path={review}", "task.learning_rate=0.01", "model.layers=[-2,-1]"]
    out = tmp_path / "again.csv"
    assert here("train.py", *options, "model.combine=concat", f"task/head={head}", f"output={tmp_path / 'runs'}") == 0
    (run,) = cells(tmp_path / "runs")
    assert here("evaluate.py", f"run={run}", f"records={review}", f"out={out}", "trainer=cpu") == 0
    expected, found = scores_of(run / "ranking.csv"), scores_of(out)
    assert {record: found[record] for record in expected} == pytest.approx(expected, abs=1e-5)
