"""What is read, what is refused, and what options are worth of a dataset's own."""

from typing import Any

import pytest
from toy_classification import CLASSES

from layersel.data.texts.embedded import Embedded
from layersel.data.texts.examples import Example, Message, TextDataset
from layersel.data.texts.titles import Titles
from layersel.errors import UserError
from layersel.tasks.classification.labels import Labels, read_labels
from layersel.tasks.classification.options import Classification
from layersel.tasks.classification.problem import ClassificationProblem


def dataset(*labels: str | float | None, **more: Any) -> TextDataset:
    """One example for each label."""
    return TextDataset("toy", tuple(Example(text=f"text {row}", label=own) for row, own in enumerate(labels)), **more)


def test_names_are_classes_and_numbers_are_numbers() -> None:
    """The order of declared classes stays; the option takes numbers for names and the other way round."""
    assert read_labels(dataset("b", "a", "b")) == Labels(("a", "b"), [1, 0, 1])
    assert read_labels(dataset("b", "a", classes=("c", "b", "a"))) == Labels(("c", "b", "a"), [1, 2])
    assert read_labels(dataset(1.5, 0, 2)) == Labels((), [1.5, 0, 2])
    assert read_labels(dataset("a", None, "b")).known == [0, 2]


WRONG = [
    (
        dataset("a", "b", 3.0),
        {},
        "all names or all numbers, but toy has 'a' in row 1 and 3 in row 3; give data.labels=",
    ),
    (dataset("a", "x", classes=("a", "b")), {}, r"the classes that toy declares \(a, b\), but row 2 has 'x'"),
    (dataset(1.0, float("nan")), {}, "numbers as labels, but row 2 of toy has nan"),
    (dataset(None, None), {}, "labelled rows to learn from, but toy has none"),
    (dataset("a", "a", "a"), {}, "two or more classes .* all of toy are 'a'"),
    (
        TextDataset("toy", (Example(text="x", label="a"), Example(text=" ", label="b"))),
        {},
        "row 2 of toy has none; leave",
    ),
    (
        TextDataset("toy", (Example(messages=(Message("user", "hi"),)),)),
        {},
        "has none; it has prompts or conversations",
    ),
    (Titles().load(), {}, "row 1 of titles has none; it has prompts"),
]


@pytest.mark.parametrize(("data", "options", "message"), WRONG)
def test_bad_data_are_refused_in_one_line(data: TextDataset, options: dict[str, Any], message: str) -> None:
    """It says the row, what is there, and what to do."""
    with pytest.raises(UserError, match=f"^data: expected .*{message}") as raised:
        ClassificationProblem.draw(Classification(**options), data, 0)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "auc"}, "task.metric: expected one of accuracy"),
        ({"class_weights": "heavy"}, "task.class_weights: expected one of none, balanced"),
        ({"head_start": "zero"}, "task.head_start: expected one of probe, random"),
        ({"train": 0}, "task.train: expected a count (1, 2, …) or a share such as 0.2, but got 0"),
        ({"train": 1.5}, "task.train: expected a count (1, 2, …) or a share such as 0.2, but got 1.5"),
        ({"validation": -0.1}, "task.validation: expected a count"),
        ({"unfreeze_after": float("nan")}, "task.unfreeze_after: expected a count"),
        ({"head_learning_rate": 0}, "task.head_learning_rate: expected a number above 0"),
        ({"patience": 0}, "task.patience: expected at least 1, or null"),
        ({"accumulate": 0}, "task.accumulate: expected at least 1"),
        ({"clip": 0}, "task.clip: expected a number above 0, or null"),
        ({"schedule": "step"}, "task.schedule: expected one of linear, cosine, constant"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    """Each has its line."""
    (line,) = Classification(**options).problems()
    assert line.startswith(message)


def test_the_metric_is_the_datasets_own_unless_it_is_given() -> None:
    """Of what a dataset is measured by, the first that suits its labels."""
    names, numbers = dataset("a", "b", metrics=("matthews", "accuracy")), dataset(1.0, 2.0, metrics=("f1", "spearman"))
    assert Classification().suited([names]).primary.name == "matthews"
    assert Classification(metric="f1").suited([names]).primary.name == "f1"
    assert Classification().suited([numbers]).primary.name == "spearman"
    assert Classification().suited([dataset(1.0, 2.0)]).primary.name == "pearson"
    assert not Classification(metric="rmse").suited([numbers]).primary.higher_is_better
    assert Classification().suited([names, names]).primary.name == "matthews"


def test_a_metric_must_suit_all_datasets() -> None:
    """One of numbers does not suit classes; two datasets with metrics of their own need a common one."""
    with pytest.raises(
        UserError, match=r"^task\.metric: expected one of accuracy, .* but got 'rmse'; the labels of toy"
    ):
        Classification(metric="rmse").suited([dataset("a", "b")])
    pair = [Embedded("inclusion").load(), Embedded("place").load()]
    with pytest.raises(UserError, match=r"got inclusion by f1, place by accuracy; give task\.metric=NAME"):
        Classification().suited(pair)
    assert Classification(metric="accuracy").suited(pair).primary.name == "accuracy"


@pytest.mark.parametrize("question", ["inclusion", "place", "matching", "year"])
def test_the_embedded_questions_can_be_learnt(question: str) -> None:
    """Each has enough examples of every class, and no text gives away where it stands by a notice or a heading."""
    data = Embedded(question).load()
    problem = Classification().suited([data]).problem(data, 0)
    assert len(problem.train) > 200
    assert len(problem.test) > 50
    texts = [part for own in data.examples for part in (own.text, own.pair) if part]
    assert len(set(texts)) > 0.98 * len(texts)  # two examples of one text would tell each other's label
    assert data.fingerprint() == Embedded(question).load().fingerprint()
    if question in ("place", "year"):
        texts = " ".join(f"{own.text} {own.pair}" for own in data.examples)
        headings = ("CONCLUSION:", "Background:") if question == "place" else ()
        assert not any(word in texts for word in ("PsycINFO", "©", "Copyright", *headings))


def test_lines_tell_what_numbers_mean_and_what_repeats() -> None:
    """Whoever has classes named 0 and 1 is told that they were taken for numbers; a leak is told too."""
    lines = ClassificationProblem.draw(Classification(), dataset(*[0.0, 1.0] * 5), 0).lines()
    assert "labels are numbers, 0 to 1: regression (data.labels=classes takes them as classes)" in lines
    twice = TextDataset("toy", tuple(Example(text="same", label=label) for label in CLASSES * 5))
    lines = ClassificationProblem.draw(Classification(), twice, 0).lines()
    assert lines[-1].startswith("2 of the test examples repeat one that is learnt from")
