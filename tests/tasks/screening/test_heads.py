"""Heads equal independent references, survive their file, and refuse what they cannot learn from."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import zscore
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.preprocessing import normalize
from sklearn.svm import LinearSVC
from torch import Tensor

from layersel.data.reviews.demo import Demo
from layersel.errors import UserError
from layersel.tasks.screening.heads.elas_u4 import ElasU4
from layersel.tasks.screening.heads.examples import Examples, FittedHead
from layersel.tasks.screening.heads.fusing import FUSED, added_log_odds, added_reciprocal_ranks, added_z_scores
from layersel.tasks.screening.heads.fusion import Fusion
from layersel.tasks.screening.heads.head import Head
from layersel.tasks.screening.heads.logistic import Logistic
from layersel.tasks.screening.heads.nearest import Nearest
from layersel.tasks.screening.heads.prototype import Prototype
from layersel.tasks.screening.heads.svm import Svm
from layersel.tasks.screening.heads.tfidf_nearest import TfidfNearest

LABELS = torch.arange(20) % 2
EVERY: dict[str, Head] = {
    "logistic": Logistic(),
    "unscaled logistic": Logistic(c=10, balanced=True, normalize=False),
    "svm": Svm(),
    "nearest": Nearest(),
    "prototype": Prototype(),
    "rocchio": Prototype(gamma=0.5),
    "elas_u4": ElasU4(),
    "tfidf_nearest": TfidfNearest(k=2),
    "fusion": Fusion(views=["nearest", "tfidf_nearest", "elas_u4"]),
}


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """20 texts of the demo review."""
    return [f"{record.title} {record.abstract}" for record in Demo().load().records[:20]]


@pytest.fixture
def vectors() -> Tensor:
    """20 vectors of 6 dimensions and various lengths."""
    return torch.randn(20, 6, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.5, 9, 20).unsqueeze(1)


def fitted(head: Head, vectors: Tensor, texts: Sequence[str], labels: Tensor = LABELS) -> FittedHead:
    """A head that has learnt from the first 12 records."""
    return FittedHead.fit(head, Examples(vectors[:12], labels[:12], texts[:12]))


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("c", [0.1, 1.0, 10.0])
def test_logistic_equals_scikit_learn(vectors: Tensor, texts: list[str], scaled: bool, c: float) -> None:
    """Scores are the decision function, and their sign the prediction."""
    scores = fitted(Logistic(c=c, normalize=scaled), vectors, texts).scores(vectors, texts)
    features = normalize(vectors.double().numpy()) if scaled else vectors.double().numpy()
    model = LogisticRegression(C=c, max_iter=10_000, tol=1e-8).fit(features[:12], LABELS[:12].numpy())
    torch.testing.assert_close(scores, torch.from_numpy(model.decision_function(features)))
    assert (scores > 0).tolist() == model.predict(features).astype(bool).tolist()


def test_nearest_is_the_mean_of_the_largest_cosines(vectors: Tensor, texts: list[str]) -> None:
    """By scikit-learn's cosines; of fewer included records than k, all count."""
    cosines = cosine_similarity(vectors.double().numpy(), vectors[:12][LABELS[:12] == 1].double().numpy())
    for k in (1, 3, 100):
        expected = np.sort(cosines)[:, -k:].mean(axis=1)
        scores = fitted(Nearest(k=k), vectors, texts).scores(vectors, texts)
        np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 0.7])
def test_prototype_is_rocchio_s(vectors: Tensor, texts: list[str], gamma: float) -> None:
    """The cosine to the difference of the centroids of vectors of length 1."""
    known = normalize(vectors[:12].double().numpy())
    direction = known[LABELS[:12] == 1].mean(axis=0) - gamma * known[LABELS[:12] == 0].mean(axis=0)
    expected = cosine_similarity(vectors.double().numpy(), direction[None])[:, 0]
    scores = fitted(Prototype(gamma=gamma), vectors, texts).scores(vectors, texts)
    np.testing.assert_allclose(scores.numpy(), expected, rtol=1e-10)


def test_svm_weighs_the_included_as_elas_u4_does(vectors: Tensor, texts: list[str]) -> None:
    """The included records carry 9.8 times the total weight of the excluded ones, and the mean weight is 1."""
    labels = torch.tensor([1, 0, 0, 0] * 5)
    weights = np.where(labels[:12] == 1, 9.8 * 9 / 3, 1.0)
    weights *= 12 / weights.sum()
    assert weights[labels[:12] == 1].sum() == pytest.approx(9.8 * weights[labels[:12] == 0].sum())
    features = normalize(vectors.double().numpy())
    model = LinearSVC(C=0.1, random_state=0).fit(features[:12], labels[:12].numpy(), sample_weight=weights)
    scores = fitted(Svm(), vectors, texts, labels).scores(vectors, texts)
    np.testing.assert_allclose(scores.numpy(), model.decision_function(features), rtol=1e-4, atol=1e-6)


def test_elas_u4_is_asreview_s() -> None:
    """The parts of asreview 3.0.8 (TF-IDF, balancer, SVM), written out with scikit-learn, rank the review alike."""
    records = Demo().load().records
    texts = [f"{record.title} {record.abstract}" for record in records]
    labels = torch.tensor([record.label for record in records])
    train = [int(index) for label in (0, 1) for index in (labels == label).nonzero()[:8]]
    features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=1, max_df=0.95).fit_transform(texts)
    weights = np.where(labels[train] == 1, 1.0, 8 / (9.8 * 8))
    weights *= len(train) / weights.sum()
    model = LinearSVC(loss="squared_hinge", C=0.11).fit(features[train], labels[train].numpy(), sample_weight=weights)
    examples = Examples(torch.zeros(16, 1), labels[train], [texts[index] for index in train])
    scores = FittedHead.fit(ElasU4(), examples).scores(torch.zeros(len(texts), 1), texts)
    assert np.corrcoef(scores.numpy(), model.decision_function(features))[0, 1] > 0.9999
    assert set(scores.topk(50).indices.tolist()) == set(np.argsort(-model.decision_function(features))[:50].tolist())


def test_document_frequencies_are_those_of_the_pool(texts: list[str]) -> None:
    """The examples count once, whether the pool holds them (as in training) or not (as in evaluate.py)."""
    head = FittedHead.fit(TfidfNearest(), Examples(torch.zeros(12, 1), LABELS[:12], texts[:12]))
    whole = head.scores(torch.zeros(20, 1), texts)
    torch.testing.assert_close(head.scores(torch.zeros(8, 1), texts[12:]), whole[12:])


def test_fusions_by_hand() -> None:
    """Ranks and z-scores as scipy and a pencil have them; ties share a rank, and a constant view adds nothing."""
    scores = torch.tensor([[0.1, 0.9, 0.5, 0.5], [7.0, 7.0, 7.0, 7.0]])
    shares = np.array([[0.125, 0.875, 0.5, 0.5], [0.5] * 4])
    np.testing.assert_allclose(added_log_odds(scores).numpy(), np.log(shares / (1 - shares)).sum(axis=0), atol=1e-12)
    np.testing.assert_allclose(added_z_scores(scores).numpy(), zscore(scores[0].double().numpy()), rtol=1e-6)
    expected = [1 / 64 + 1 / 62.5, 1 / 61 + 1 / 62.5, 1 / 62.5 + 1 / 62.5, 1 / 62.5 + 1 / 62.5]
    np.testing.assert_allclose(added_reciprocal_ranks(scores).numpy(), expected)


@pytest.mark.parametrize("how", FUSED)
@given(data=st.data())
def test_fusing_looks_at_orders(how: str, data: st.DataObject) -> None:
    """A record that no view puts below another is not below it; the order of the views is no matter."""
    numbers = st.lists(st.floats(-10, 10, width=16), min_size=4, max_size=4)
    scores = torch.tensor(data.draw(st.lists(numbers, min_size=1, max_size=3)), dtype=torch.float64)
    fused = FUSED[how](scores)
    torch.testing.assert_close(FUSED[how](scores.flip(0)), fused)
    for first in range(4):
        for second in range(4):
            if bool((scores[:, first] >= scores[:, second]).all()):
                assert fused[first] >= fused[second] - 1e-9


@pytest.mark.parametrize("name", EVERY)
def test_heads_survive_their_file(vectors: Tensor, texts: list[str], name: str, tmp_path: Path) -> None:
    """Bit by bit, for the records of the training and for others."""
    head = fitted(EVERY[name], vectors, texts)
    head.save(tmp_path / "head.safetensors")
    loaded = FittedHead.load(tmp_path / "head.safetensors", EVERY[name])
    for part in (slice(None), slice(15, 20)):
        assert torch.equal(loaded.scores(vectors[part], texts[part]), head.scores(vectors[part], texts[part]))


@pytest.mark.parametrize("name", EVERY)
def test_lengths_of_vectors_do_not_count(vectors: Tensor, texts: list[str], name: str) -> None:
    """Of those that are learnt from and of those that are scored, but where the logistic head is told not to scale."""
    if name == "unscaled logistic":
        return
    expected = fitted(EVERY[name], vectors, texts).scores(vectors, texts)
    torch.testing.assert_close(fitted(EVERY[name], vectors * 5, texts).scores(vectors * 3, texts), expected)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_vectors_must_be_finite(vectors: Tensor, texts: list[str], name: str, value: float) -> None:
    """A training that went astray is refused in one line."""
    vectors[3, 2] = value
    with pytest.raises(UserError, match=r"head: vectors are not finite; lower task\.learning_rate"):
        fitted(EVERY[name], vectors, texts)


@pytest.mark.parametrize("name", EVERY)
def test_examples_of_one_class(vectors: Tensor, texts: list[str], name: str) -> None:
    """Without excluded records the heads that need none rank; without included ones none does."""
    head = EVERY[name]
    with pytest.raises(UserError, match="expected an included record to learn from, but got none"):
        fitted(head, vectors, texts, torch.zeros(20, dtype=torch.long))
    ones = torch.ones(20, dtype=torch.long)
    if head.needs_excluded:
        with pytest.raises(UserError, match="expected excluded records to learn from too, but got none"):
            fitted(head, vectors, texts, ones)
    else:
        assert bool(fitted(head, vectors, texts, ones).scores(vectors, texts).isfinite().all())


@pytest.mark.parametrize("content", [None, b"", b"not a safetensors file"])
def test_broken_head_file(content: bytes | None, tmp_path: Path) -> None:
    """One line with the file, whether it is missing, empty or something else."""
    if content is not None:
        (tmp_path / "head").write_bytes(content)
    with pytest.raises(UserError, match=r"^head: '.*/head' cannot be read \(.*expected a file of a finished run$"):
        FittedHead.load(tmp_path / "head", Logistic())


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (Logistic(c=0), "task.head.c: expected a number above 0, but got 0"),
        (Svm(ratio=-1), "task.head.ratio: expected a number above 0, but got -1"),
        (Nearest(k=0), "task.head.k: expected at least 1, but got 0"),
        (TfidfNearest(k=0), "task.head.k: expected at least 1, or null for all, but got 0"),
        (Prototype(gamma=float("nan")), "task.head.gamma: expected 0 or more, but got nan"),
        (Fusion(by="vote"), "task.head.by: expected one of log_odds, z_scores, reciprocal_rank, but got 'vote'"),
        (Fusion(views=["nearest", "nothing"]), "task.head.views: expected one of elas_u4, .*, but got 'nothing'"),
        (Fusion(views=[]), r"task.head.views: expected different heads, but got \[\]"),
    ],
)
def test_wrong_options(head: Head, says: str) -> None:
    """One line each."""
    (line,) = head.problems()
    assert re.search(says, line), line
