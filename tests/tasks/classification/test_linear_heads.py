"""The probe against scikit-learn, the head while it is trained, its file, and pairs as the tokenizer has them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from models import tiny_tokenizer
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import PreTrainedTokenizerFast

from layersel.data.tokens import TokenizedTexts
from layersel.errors import UserError
from layersel.seeding import stream
from layersel.tasks.classification.head import LinearHead, TrainedHead
from layersel.tasks.classification.probe import FOLDS, RIDGE, STRENGTHS, fit_probe
from layersel.tasks.classification.tfidf import tfidf_predictions


def vectors(n: int = 60, width: int = 7) -> torch.Tensor:
    """Vectors whose columns differ in place and spread, one of them constant."""
    drawn = torch.randn(n, width, generator=stream(0, "vectors"))
    drawn = drawn * torch.logspace(-2, 2, width) + torch.arange(width)
    drawn[:, -1] = 3.0
    return drawn


def classes_of(inputs: torch.Tensor, n_classes: int) -> torch.Tensor:
    """Classes that two columns decide, with noise."""
    noise = torch.randn(len(inputs), generator=stream(1, "noise"))
    value = inputs[:, 0] / 0.01 - (inputs[:, 1] - 1) / 0.0464 + noise
    return torch.bucketize(value, torch.quantile(value, torch.arange(1, n_classes) / n_classes)).double()


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("balanced", [False, True])
def test_the_probe_is_that_of_scikit_learn(n_classes: int, balanced: bool) -> None:
    """Its probabilities are those of a pipeline that standardises, chooses C in the same folds, and fits."""
    inputs = vectors()
    targets = classes_of(inputs, n_classes)
    head = fit_probe(inputs, targets, [str(number) for number in range(n_classes)], balanced)
    scaled = StandardScaler().fit_transform(inputs.double())
    reference = LogisticRegressionCV(
        Cs=list(STRENGTHS),
        cv=StratifiedKFold(FOLDS),
        scoring="neg_log_loss",
        class_weight="balanced" if balanced else None,
        max_iter=1000,
        use_legacy_attributes=False,
        l1_ratios=(0,),
    ).fit(scaled, targets.int())
    expected = reference.predict_proba(scaled)
    assert np.allclose(head.outputs(inputs).softmax(dim=1).numpy(), expected, atol=2e-3)


def test_the_ridge_is_that_of_scikit_learn() -> None:
    """The predicted numbers are those of a pipeline that standardises and chooses its penalty by leaving one out."""
    inputs = vectors()
    targets = (inputs[:, 0] * 100 + torch.randn(60, generator=stream(2, "noise")) + 2000).double()
    head = fit_probe(inputs, targets, (), balanced=False)
    expected = make_pipeline(StandardScaler(), RidgeCV(RIDGE)).fit(inputs.double(), targets).predict(inputs.double())
    assert np.allclose(head.outputs(inputs)[:, 0].numpy(), expected, atol=1e-6)


def test_a_class_without_examples_is_not_predicted() -> None:
    """The declared class has outputs far below those of the others."""
    inputs = vectors()
    targets = classes_of(inputs, 2) * 2
    head = fit_probe(inputs, targets, ("first", "never", "last"), balanced=False)
    predicted = head.predicted(head.outputs(inputs))
    assert set(predicted.tolist()) == {0, 2}
    assert float((predicted == targets).double().mean()) > 0.8


def test_a_head_is_trained_from_another_and_gives_the_same() -> None:
    """What starts as the probe has its outputs, and so has the plain head that is made of it again."""
    inputs = vectors()
    probe = fit_probe(inputs, classes_of(inputs, 3), ("a", "b", "c"), balanced=False)
    head = TrainedHead(7, 3)
    head.standardise(inputs)
    head.start(probe)
    with torch.no_grad():
        assert torch.allclose(head(inputs).double(), probe.outputs(inputs), atol=1e-4)
        assert torch.allclose(head.linear_head(probe.classes).outputs(inputs), head(inputs).double(), atol=1e-4)


def test_a_column_of_next_to_no_spread_tells_nothing() -> None:
    """MiniLM's last norm has weights of 1e-33: such a column does not blow up once it is spread."""
    inputs, targets = vectors(), classes_of(vectors(), 2)
    inputs[:, 2] *= 1e-30
    probe = fit_probe(inputs, targets, ("no", "yes"), balanced=False)
    head = TrainedHead(7, 2)
    head.standardise(inputs)
    spread = inputs.clone()
    spread[:, 2] = 1.0
    assert torch.allclose(probe.outputs(spread), probe.outputs(inputs), atol=10)
    with torch.no_grad():
        assert torch.allclose(head(spread), head(inputs), atol=10)


def test_a_head_is_the_same_from_its_file(tmp_path: Path) -> None:
    """Weights to the last bit, and the names of classes; a damaged file is refused in one line."""
    probe = fit_probe(vectors(), classes_of(vectors(), 2), ("no", "sí"), balanced=False)
    file = tmp_path / "head.safetensors"
    probe.save(file)
    again = LinearHead.load(file)
    assert again.classes == ("no", "sí")
    assert torch.equal(again.outputs(vectors()), probe.outputs(vectors()))
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(UserError, match=r"^head: .*head\.safetensors' cannot be read"):
        LinearHead.load(file)


def test_vectors_that_are_not_finite_are_refused() -> None:
    """The message says what to change."""
    probe = fit_probe(vectors(), classes_of(vectors(), 2), ("no", "yes"), balanced=False)
    with pytest.raises(UserError, match="not finite"):
        probe.outputs(vectors() * float("nan"))


def test_the_reference_without_an_encoder_looks_at_words() -> None:
    """Texts that share a word with those of a class are taken for it; numbers likewise."""
    texts = ["good day", "bad day", "good night", "bad night", "a good one", "a bad one"]
    predicted = tfidf_predictions(texts, [0, 1, 2, 3], torch.tensor([1.0, 0.0, 1.0, 0.0]), True, False)
    assert predicted.tolist() == [1, 0, 1, 0, 1, 0]
    numbers = tfidf_predictions(texts, [0, 1, 2, 3], torch.tensor([9.0, 1.0, 9.0, 1.0]), False, False)
    assert numbers[4] > 5 > numbers[5]


PAIRS = [("one two", "three"), ("four", None), ("five " * 30, "six"), ("seven", "eight " * 30)]


@pytest.mark.parametrize("max_length", [512, 12])
def test_pairs_are_those_of_the_tokenizer(max_length: int) -> None:
    """Each has the ids of `tokenizer(text, pair)`, of which the longer part is cut; a text alone is as ever."""
    tokenizer: PreTrainedTokenizerFast = tiny_tokenizer()
    names = [f"text {number}" for number in range(len(PAIRS))]
    texts = TokenizedTexts.of_pairs(names, PAIRS, tokenizer, max_length)
    for ids, (text, pair) in zip(texts.tokens, PAIRS, strict=True):
        both = (text,) if pair is None else (text, pair)
        assert ids == tokenizer(*both, truncation=True, max_length=max_length)["input_ids"]
    assert texts.texts == names
    assert texts.full_lengths == [len(tokenizer(*filter(None, own))["input_ids"]) for own in PAIRS]
    shortened = texts.tokens[2]
    assert shortened[-2:] == tokenizer("six")["input_ids"][-2:]  # the short second text is whole


def test_texts_without_pairs_are_as_before() -> None:
    """Ids, lengths and all."""
    tokenizer = tiny_tokenizer()
    texts = [text for text, _ in PAIRS]
    plain = TokenizedTexts.of(texts, tokenizer, 12)
    assert TokenizedTexts.of_pairs(texts, [(text, None) for text in texts], tokenizer, 12) == plain
