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
from layersel.tasks.screening.heads.adaptive import Adaptive
from layersel.tasks.screening.heads.elas_u4 import ElasU4
from layersel.tasks.screening.heads.examples import Examples, FittedHead
from layersel.tasks.screening.heads.fusing import COMPARABLE, left_out_weights, log_odds, reciprocal_ranks, z_scores
from layersel.tasks.screening.heads.fusion import Fusion
from layersel.tasks.screening.heads.head import Head
from layersel.tasks.screening.heads.logistic import Logistic
from layersel.tasks.screening.heads.nearest import Nearest
from layersel.tasks.screening.heads.pool import Pool
from layersel.tasks.screening.heads.prototype import Prototype
from layersel.tasks.screening.heads.spreading import Spreading
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
    "spreading": Spreading(neighbours=4),
    "adaptive": Adaptive(views=["spreading", "nearest", "elas_u4"]),
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


@pytest.mark.parametrize("views", [["vectors", "tfidf"], ["vectors"], ["tfidf"]])
@pytest.mark.parametrize("neighbours", [3, 100])
def test_spreading_is_zhou_s(vectors: Tensor, texts: list[str], views: list[str], neighbours: int) -> None:
    """Against dense matrices and sorted rows, with the limit of the rounds in closed form: (1−α)(I − αS)⁻¹Y."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_df=0.95).fit_transform(texts)
    cosines = {"vectors": cosine_similarity(vectors.double().numpy()), "tfidf": cosine_similarity(words)}
    similar = sum(cosines[view] / cosines[view].std() for view in views)
    np.fill_diagonal(similar, -np.inf)
    edges = np.zeros((20, 20))
    for record, row in enumerate(similar):
        for other in np.argsort(-row)[: min(neighbours, 19)]:
            edges[record, other] = edges[other, record] = max(row[other], 0)
    degrees = edges.sum(axis=1)
    normalised = edges / np.sqrt(np.outer(degrees, degrees))
    marks = ((np.arange(20) < 12) & (LABELS.numpy() == 1)).astype(float)
    expected = 0.5 * np.linalg.solve(np.eye(20) - 0.5 * normalised, marks)
    head = Spreading(neighbours=neighbours, alpha=0.5, views=views)
    np.testing.assert_allclose(fitted(head, vectors, texts).scores(vectors, texts).numpy(), expected, atol=1e-5)


def test_spreading_in_blocks(monkeypatch: pytest.MonkeyPatch, vectors: Tensor, texts: list[str]) -> None:
    """However many rows are held at a time, but for the sample that the deviations are taken of."""
    whole = fitted(Spreading(neighbours=4, views=["vectors"]), vectors, texts).scores(vectors, texts)
    monkeypatch.setattr("layersel.tasks.screening.heads.graph.ROWS", 7)
    torch.testing.assert_close(
        fitted(Spreading(neighbours=4, views=["vectors"]), vectors, texts).scores(vectors, texts), whole
    )


def test_spreading_reaches_a_pool_without_the_examples(vectors: Tensor, texts: list[str]) -> None:
    """As when evaluate.py ranks another library: the examples stand in the graph beside it."""
    head = fitted(Spreading(neighbours=4), vectors, texts)
    whole = head.scores(vectors, texts)
    torch.testing.assert_close(head.scores(vectors[12:], texts[12:]), whole[12:])
    assert head.scores(vectors[15:16], texts[15:16]).shape == (1,)


def test_fusions_by_hand() -> None:
    """Ranks and z-scores as scipy and a pencil have them; ties share a rank, and a constant view adds nothing."""
    scores = torch.tensor([[0.1, 0.9, 0.5, 0.5], [7.0, 7.0, 7.0, 7.0]])
    shares = np.array([[0.125, 0.875, 0.5, 0.5], [0.5] * 4])
    np.testing.assert_allclose(log_odds(scores).numpy(), np.log(shares / (1 - shares)), atol=1e-12)
    np.testing.assert_allclose(z_scores(scores).numpy(), [zscore(scores[0].double().numpy()), np.zeros(4)], rtol=1e-6)
    expected = [[1 / 64, 1 / 61, 1 / 62.5, 1 / 62.5], [1 / 62.5] * 4]
    np.testing.assert_allclose(reciprocal_ranks(scores).numpy(), expected)


@pytest.mark.parametrize("how", COMPARABLE)
@given(data=st.data())
def test_fusing_looks_at_orders(how: str, data: st.DataObject) -> None:
    """A record that no view puts below another is not below it; the order of the views is no matter."""
    numbers = st.lists(st.floats(-10, 10, width=16), min_size=4, max_size=4)
    scores = torch.tensor(data.draw(st.lists(numbers, min_size=1, max_size=3)), dtype=torch.float64)
    fused = COMPARABLE[how](scores).sum(dim=0)
    torch.testing.assert_close(COMPARABLE[how](scores.flip(0)).sum(dim=0), fused)
    for first in range(4):
        for second in range(4):
            if bool((scores[:, first] >= scores[:, second]).all()):
                assert fused[first] >= fused[second] - 1e-9


def test_left_out_weights_by_hand(vectors: Tensor, texts: list[str]) -> None:
    """Each included example is ranked against all but the other included ones by what the others teach."""
    examples = Examples(vectors[:12], LABELS[:12], texts[:12])
    heads: list[Head] = [Nearest(k=2), ElasU4()]
    errors = []
    for head in heads:
        shares = []
        for left_out in range(1, 12, 2):
            rest = [place for place in range(12) if place != left_out]
            known = Examples(vectors[rest], LABELS[rest], [texts[place] for place in rest])
            scores = FittedHead.fit(head, known).scores(vectors, texts)
            rivals = [place for place in range(20) if place >= 12 or place % 2 == 0 or place == left_out]
            shares.append(sum(float(scores[place] >= scores[left_out]) for place in rivals) / len(rivals))
        errors.append(sum(share**2 for share in shares) / len(shares))
    expected = np.exp(-8 * np.array(errors))
    weights = left_out_weights(heads, examples, Pool(vectors, texts))
    np.testing.assert_allclose(weights.numpy(), expected / expected.sum(), rtol=1e-9)


def test_one_included_example_leaves_the_weights_equal(vectors: Tensor, texts: list[str]) -> None:
    """Nothing can be left out."""
    examples = Examples(vectors[:3], torch.tensor([1, 0, 0]), texts[:3])
    assert left_out_weights([Nearest(), Svm()], examples, Pool(vectors, texts)).tolist() == [0.5, 0.5]


def test_a_view_that_fails_here_counts_less(texts: list[str]) -> None:
    """Vectors that know the label outweigh words that do not, and the fusion ranks by them."""
    vectors = torch.nn.functional.one_hot(LABELS, 6).float() + 0.01 * torch.randn(20, 6)
    examples = Examples(vectors[:12], LABELS[:12], texts[:12])
    weights = left_out_weights([Nearest(), TfidfNearest()], examples, Pool(vectors, texts))
    assert weights[0] > 2 * weights[1]


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
        (Spreading(neighbours=0), "task.head.neighbours: expected at least 1, but got 0"),
        (Spreading(alpha=1), "task.head.alpha: expected a number between 0 and 1, but got 1"),
        (Spreading(views=["words"]), "task.head.views: expected one of vectors, tfidf, but got 'words'"),
        (Spreading(views=[]), r"task.head.views: expected one or two different views, but got \[\]"),
        (Fusion(by="vote"), "task.head.by: expected one of log_odds, z_scores, reciprocal_rank, but got 'vote'"),
        (Fusion(views=["adaptive"]), "task.head.views: expected one of best_layer, .*, but got 'adaptive'"),
        (Fusion(views=["nearest", "nothing"]), "task.head.views: expected one of best_layer, .*, but got 'nothing'"),
        (Fusion(views=[]), r"task.head.views: expected different heads, but got \[\]"),
    ],
)
def test_wrong_options(head: Head, says: str) -> None:
    """One line each."""
    (line,) = head.problems()
    assert re.search(says, line), line
