"""The few-shot split: sizes, disjointness, determinism, nesting, and classes that are too small."""

import logging

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from layersel.data.reviews.records import Record, Review
from layersel.data.reviews.report import ReadReport
from layersel.errors import UserError
from layersel.tasks.screening.options import Screening
from layersel.tasks.screening.problem import ScreeningProblem
from layersel.tasks.screening.split import few_shot_split

LABELS = st.lists(st.sampled_from([0, 1, None]), max_size=40)


def generator(seed: int = 0) -> torch.Generator:
    """A fresh stream of draws."""
    return torch.Generator().manual_seed(seed)


@given(
    LABELS.filter(lambda labels: min(labels.count(0), labels.count(1)) >= 2),
    st.integers(1, 20),
    st.integers(0, 9),
)
def test_invariants(labels: list[int | None], shots: int, seed: int) -> None:
    """The sides are sorted, disjoint, cover all labels; each class has K on one, the rest on the other."""
    train, test = few_shot_split(labels, shots, generator(seed), if_too_few="reduce")
    drawn = min(shots, labels.count(0) - 1, labels.count(1) - 1)
    assert train == sorted(train)
    assert test == sorted(test)
    assert sorted(train + test) == [index for index, label in enumerate(labels) if label is not None]
    for label in (0, 1):
        assert sum(labels[index] == label for index in train) == drawn
        assert sum(labels[index] == label for index in test) == labels.count(label) - drawn >= 1
    assert few_shot_split(labels, drawn, generator(seed)) == (train, test)


def test_seed_decides() -> None:
    """The same stream draws the same records, another stream others; the global stream is left alone."""
    labels = [1] * 20 + [0] * 200
    state = torch.get_rng_state()
    assert few_shot_split(labels, 8, generator(1)) == few_shot_split(labels, 8, generator(1))
    assert few_shot_split(labels, 8, generator(1)) != few_shot_split(labels, 8, generator(2))
    assert torch.equal(torch.get_rng_state(), state)


@given(st.integers(1, 8), st.integers(0, 99))
def test_fewer_shots_are_a_subset(shots: int, seed: int) -> None:
    """With one seed the draws nest, so curves over K compare the same records."""
    labels = [1, 0, 0] * 10
    assert set(few_shot_split(labels, shots, generator(seed)).train) <= set(
        few_shot_split(labels, 9, generator(seed)).train
    )


def test_every_record_can_be_drawn() -> None:
    """No record is favoured: over seeds each is drawn about as often."""
    labels = [1, 1, 1, 0, 0, 0, 0, 0]
    drawn = torch.zeros(8)
    for seed in range(600):
        drawn[few_shot_split(labels, 1, generator(seed)).train] += 1
    expected = torch.tensor([200.0] * 3 + [120.0] * 5)
    assert ((drawn - expected).abs() < 50).all()


@pytest.mark.parametrize("included", [9, 15])
def test_one_more_than_shots_is_enough(included: int) -> None:
    """Skeletal Muscle Relaxants: of 9 included records 8 are learnt from and 1 is left to find."""
    labels = [1] * included + [0] * 50
    split = few_shot_split(labels, 8, generator())
    assert sum(labels[index] == 1 for index in split.test) == included - 8


@pytest.mark.parametrize("included", [2, 5, 8])
def test_too_few_is_an_error_unless_reduced(included: int, caplog: pytest.LogCaptureFixture) -> None:
    """K included leave nothing to find: refused with the counts, or K is lowered for both classes."""
    labels = [1] * included + [0] * 50
    message = f"{included} included and 50 excluded records; set task.shots={included - 1} or task.if_too_few="
    with pytest.raises(UserError, match=message):
        few_shot_split(labels, 8, generator())
    with caplog.at_level(logging.WARNING):
        split = few_shot_split(labels, 8, generator(), if_too_few="reduce")
    assert len(split.train) == 2 * (included - 1)
    assert f"reduced from 8 to {included - 1}" in caplog.text


def test_nothing_need_be_left_to_test_on() -> None:
    """Where unlabelled records wait to be ranked, all labelled ones may be learnt from."""
    labels = [1] * 8 + [0] * 8 + [None] * 30
    assert few_shot_split(labels, 8, generator(), spare=0) == (list(range(16)), [])
    with pytest.raises(UserError, match="9 to learn from and 0 to test on need 9 of each class"):
        few_shot_split(labels, 9, generator(), spare=0)


@pytest.mark.parametrize("if_too_few", ["error", "reduce"])
@pytest.mark.parametrize("labels", [[], [None] * 9, [0] * 9, [1] * 9, [1, *[0] * 9]])
def test_a_class_without_two_records_is_refused(labels: list[int | None], if_too_few: str) -> None:
    """Nothing can be learnt and tested from one record or none; the counts say so."""
    found = f"{labels.count(1)} included and {labels.count(0)} excluded"
    with pytest.raises(UserError, match=f"expected 2 or more labelled records of each class, but got {found}"):
        few_shot_split(labels, 8, generator(), if_too_few)


@pytest.mark.parametrize(
    ("shots", "if_too_few", "message"),
    [(0, "error", "task.shots: expected 1 or more, but got 0"), (1, "skip", "expected one of error, reduce")],
)
def test_wrong_options(shots: int, if_too_few: str, message: str) -> None:
    """Options outside their values are refused."""
    with pytest.raises(UserError, match=message):
        few_shot_split([0, 0, 1, 1], shots, generator(), if_too_few)


def review_of(titles: list[str], labels: list[int | None]) -> Review:
    """A review of records with these titles and one abstract."""
    records = [
        Record(str(place), title, "the same words", label)
        for place, (title, label) in enumerate(zip(titles, labels, strict=True))
    ]
    return Review("r", tuple(records), ReadReport())


def test_copies_of_learnt_records_are_counted() -> None:
    """A duplicate of a training record in the test set is found, one of another test record is not."""
    review = review_of(["a b", "c d", "a b", "e f", "e f", "g h"], [1, 0, 1, 1, 1, 0])
    problem = ScreeningProblem(Screening(), review, [0, 1], [2, 3, 4, 5])
    assert problem.lines()[-1].startswith("1 of the test records repeat a record that is learnt from")


def test_labelled_records_may_be_all_learnt_from_where_others_wait() -> None:
    """A screener's file of 2 + 2 decisions and a library to rank: no test set, everything else is ranked."""
    review = review_of([f"t{place}" for place in range(7)], [1, 1, 0, 0, None, None, None])
    problem = ScreeningProblem.draw(Screening(shots=2), review, 0)
    assert (problem.train, problem.test, problem.unlabelled) == ([0, 1, 2, 3], [], [4, 5, 6])
    assert problem.labels.tolist() == [1, 1, 0, 0, -1, -1, -1]


def test_all_labelled_records() -> None:
    """Without shots both classes are learnt from whole, whether or not others wait, if no class is missing."""
    assert few_shot_split([1, 0, None, 0, 0], None, generator(), spare=0) == ([0, 1, 3, 4], [])
    assert few_shot_split([1, 0, 0], None, generator(), spare=1) == ([0, 1, 2], [])
    with pytest.raises(UserError, match=r"expected 1 or more labelled records of each class, but got 0 included"):
        few_shot_split([0, None], None, generator(), spare=0)
