"""The logistic head and the TF-IDF baseline equal scikit-learn."""

from pathlib import Path

import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize
from sklearn.svm import LinearSVC
from torch import Tensor

from layersel.data.reviews.demo import Demo
from layersel.errors import UserError
from layersel.tasks.screening.baseline import tfidf_scores
from layersel.tasks.screening.head import LogisticHead


@pytest.fixture
def vectors() -> Tensor:
    """20 vectors of 6 dimensions and various lengths."""
    return torch.randn(20, 6, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.5, 9, 20).unsqueeze(1)


LABELS = torch.arange(20) % 2


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("c", [0.1, 1.0, 10.0])
def test_head_equals_scikit_learn(vectors: Tensor, scaled: bool, c: float) -> None:
    """Scores are the decision function, and their sign the prediction."""
    head = LogisticHead.fit(vectors[:12], LABELS[:12], c, scaled)
    features = normalize(vectors.double().numpy()) if scaled else vectors.double().numpy()
    model = LogisticRegression(C=c, max_iter=10_000, tol=1e-8).fit(features[:12], LABELS[:12].numpy())
    torch.testing.assert_close(head.scores(vectors), torch.from_numpy(model.decision_function(features)))
    assert (head.scores(vectors) > 0).tolist() == model.predict(features).astype(bool).tolist()


def test_scaled_head_ignores_the_lengths_of_vectors(vectors: Tensor) -> None:
    """Of those it learns from and of those it scores."""
    head = LogisticHead.fit(vectors[:12], LABELS[:12], 1.0, normalize=True)
    longer = LogisticHead.fit(vectors[:12] * 5, LABELS[:12], 1.0, normalize=True)
    torch.testing.assert_close(longer.scores(vectors * 3), head.scores(vectors))


@pytest.mark.parametrize("scaled", [True, False])
def test_head_survives_its_file(vectors: Tensor, scaled: bool, tmp_path: Path) -> None:
    """Bit by bit, with its scaling."""
    head = LogisticHead.fit(vectors, LABELS, 1.0, scaled)
    head.save(tmp_path / "head.safetensors")
    loaded = LogisticHead.load(tmp_path / "head.safetensors")
    assert loaded.normalize is scaled
    assert torch.equal(loaded.scores(vectors), head.scores(vectors))


@pytest.mark.parametrize("content", [None, b"", b"not a safetensors file"])
def test_broken_head_file(content: bytes | None, tmp_path: Path) -> None:
    """One line with the file, whether it is missing, empty or something else."""
    if content is not None:
        (tmp_path / "head").write_bytes(content)
    with pytest.raises(UserError, match=r"^head: '.*/head' cannot be read \(.*expected a file of a finished run$"):
        LogisticHead.load(tmp_path / "head")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_vectors_must_be_finite(vectors: Tensor, value: float) -> None:
    """What a training that went astray leaves is told as that."""
    vectors[3, 2] = value
    with pytest.raises(UserError, match=r"head: vectors are not finite; lower task\.learning_rate"):
        LogisticHead.fit(vectors, LABELS, 1.0, normalize=True)


@pytest.fixture(scope="module")
def review() -> tuple[list[str], list[int], Tensor]:
    """Texts of the demo review, six training records, and the labels of all."""
    records = Demo().load().records
    labels = torch.tensor([record.label for record in records])
    train = [int(index) for label in (0, 1) for index in (labels == label).nonzero()[:3]]
    return [f"{record.title} {record.abstract}" for record in records], train, labels


def test_baseline_equals_its_pipeline(review: tuple[list[str], list[int], Tensor]) -> None:
    """TF-IDF by hand, a linear SVM on it."""
    texts, train, labels = review
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    features = vectorizer.fit(texts).transform(texts)
    model = LinearSVC(C=0.11, class_weight="balanced", random_state=0).fit(features[train], labels[train].numpy())
    expected = torch.from_numpy(model.decision_function(features))
    torch.testing.assert_close(tfidf_scores(texts, train, labels[train]), expected)


def test_baseline_ranks_by_what_it_learnt(review: tuple[list[str], list[int], Tensor]) -> None:
    """Turning the training labels round turns the ranking round; the order of the training records is no matter."""
    texts, train, labels = review
    scores = tfidf_scores(texts, train, labels[train])
    torch.testing.assert_close(tfidf_scores(texts, train, 1 - labels[train]), -scores, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(tfidf_scores(texts, train[::-1], labels[train[::-1]]), scores, rtol=1e-3, atol=1e-4)
