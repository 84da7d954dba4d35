"""Which examples are learnt from, stopped by and tested on."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layersel.data.texts.examples import Example, TextDataset
from layersel.errors import UserError
from layersel.seeding import stream
from layersel.tasks.classification.labels import read_labels
from layersel.tasks.classification.options import Classification
from layersel.tasks.classification.split import Split, split, stratified


def dataset(*labels: str | float | None, splits: str = "") -> TextDataset:
    """One example for each label; `splits` has a letter for each: t, v, e, or none."""
    names = {"t": "train", "v": "validation", "e": "test"}
    own = [names.get(letter) for letter in splits] or [None] * len(labels)
    return TextDataset(
        "toy",
        tuple(
            Example(text=f"text {row}", label=label, split=part)
            for row, (label, part) in enumerate(zip(labels, own, strict=True))
        ),
    )


def drawn(data: TextDataset, seed: int = 0, **options: object) -> Split:
    """The split under some options."""
    return split(Classification(**options), data, read_labels(data), seed)  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=40), st.data())
def test_every_class_gives_its_part(groups: list[int], data: st.DataObject) -> None:
    """As many as asked for are drawn, of each class at most one more or less than its share, and `least` of each."""
    sizes = Counter(groups)
    count = data.draw(st.integers(len(sizes), len(groups)))
    places = stratified(groups, count, stream(0, "train"), least=1)
    assert len(places) == len(set(places)) == count
    own = Counter(groups[place] for place in places)
    assert all(own[group] >= 1 for group in sizes)
    if all(count * size / len(groups) >= 1 for size in sizes.values()):
        assert all(abs(own[group] - count * size / len(groups)) < len(sizes) for group, size in sizes.items())


LABELS = ["a"] * 6 + ["b"] * 30 + [None] * 4


@pytest.mark.parametrize("options", [{}, {"patience": 2}, {"train": 12}, {"train": 0.5, "patience": 1}])
def test_a_drawn_split_covers_the_labelled_examples_once(options: dict[str, object]) -> None:
    """The parts are disjoint, every class is in each of them, and what has no label is in none."""
    data = dataset(*LABELS)
    parts = drawn(data, **options)
    used = [place for part in parts for place in part]
    assert sorted(used) == list(range(36))
    for part in (parts.train, parts.test, *([parts.validation] if "patience" in options else [])):
        assert {LABELS[place] for place in part} == {"a", "b"}
    assert bool(parts.validation) == ("patience" in options)
    assert drawn(data, **options) == parts
    assert drawn(data, seed=1, **options) != parts


def test_the_data_say_what_is_for_what() -> None:
    """The test set is the data's own, or else their validation split; unlabelled rows are in neither."""
    whole = dataset("a", "b", "a", "b", "a", "b", splits="ttveev"[:6])
    assert drawn(whole) == Split([0, 1], [], [3, 4])
    assert drawn(whole, patience=1) == Split([0, 1], [2, 5], [3, 4])
    hidden = dataset("a", "b", "a", "b", None, None, splits="ttvvee")  # as GLUE is published
    assert drawn(hidden) == Split([0, 1], [], [2, 3])
    few = drawn(dataset(*["a", "b"] * 10, splits="t" * 16 + "eeee"), train=4)
    assert len(few.train) == 4
    assert few.test == [16, 17, 18, 19]


def test_numbers_are_split_without_classes() -> None:
    """A share of them is drawn, whatever they are."""
    parts = drawn(dataset(*[float(number) for number in range(10)]), train=0.5)
    assert (len(parts.train), len(parts.test)) == (5, 5)


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (["a", "a"], {}, "two or more classes to learn from, but all of toy are 'a'"),
        (["a", "a", "b"], {}, "at least 2 examples of each class, .* but 'b' has 1"),
        (["a", "a", "b", "b"], {"patience": 1}, "at least 3 examples of each class"),
        (["a", "a", "b", "b"], {"train": 1}, r"^task\.train: expected 2 to 2 of the 4 examples .* got 1"),
        (["a", "a", "b", "b"], {"train": 4}, r"^task\.train: expected 2 to 2 of the 4 examples .* got 4"),
        ([1.0, 1.0, 1.0], {}, "numbers that differ"),
    ],
)
def test_too_little_to_split(labels: list[str | float], options: dict[str, object], message: str) -> None:
    """The message is one line with what is there."""
    with pytest.raises(UserError, match=message) as raised:
        drawn(dataset(*labels), **options)
    assert "\n" not in str(raised.value)


def test_no_training_split() -> None:
    """Data with splits of their own, but none to learn from, are refused."""
    with pytest.raises(UserError, match="labelled rows of the split train"):
        drawn(dataset("a", "b", splits="ee"))
