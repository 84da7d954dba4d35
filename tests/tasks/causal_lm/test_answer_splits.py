"""What is learnt from and what is held out, and between what the difference of two losses lies."""

import math
from collections import Counter
from typing import Any

import pytest
import torch

from layersel.data.texts.examples import Example, TextDataset
from layersel.errors import UserError
from layersel.seeding import stream
from layersel.tasks.causal_lm.options import CausalLM
from layersel.tasks.causal_lm.problem import AnswerOutcome, AnswerProblem
from layersel.tasks.problem import Outcome


def problem(*splits: str | None, seed: int | None = 0, **options: Any) -> AnswerProblem:
    """The problem of examples of these splits."""
    examples = tuple(Example(prompt=f"{place}?", response="Yes.", split=own) for place, own in enumerate(splits))
    return CausalLM(**options).problem(TextDataset("toy", examples), seed)


NAMED = ("train", "test", "validation", None, "test", "train")


@pytest.mark.parametrize(
    ("splits", "train", "test"),
    [
        (NAMED, [0, 3, 5], [1, 4]),
        (("train", "validation", None), [0, 2], [1]),
    ],
)
def test_the_datas_own_splits(splits: tuple[str | None, ...], train: list[int], test: list[int]) -> None:
    """All that they call test, else validation; what they call neither is learnt from, and the seed draws nothing."""
    for seed in (0, 1):
        own = problem(*splits, seed=seed)
        assert (own.train, own.test) == (train, test)


@pytest.mark.parametrize(
    ("test", "train", "expected"),
    [(0.25, None, (15, 5)), (3, None, (17, 3)), (0.25, 0.4, (6, 5)), (4, 7, (7, 4))],
)
def test_drawn_splits(test: float, train: float | None, expected: tuple[int, int]) -> None:
    """So many, without an overlap; the same under a seed, others under another, and no example is preferred."""
    seen: Counter[int] = Counter()
    drawn = set()
    for seed in range(200):
        own = problem(*[None] * 20, seed=seed, test=test, train=train)
        assert (len(own.train), len(own.test)) == expected
        assert not set(own.train) & set(own.test)
        assert sorted(own.unlabelled + own.train) == list(range(20))
        again = problem(*[None] * 20, seed=seed, test=test, train=train)
        assert (own.train, own.test) == (again.train, again.test)
        seen.update(own.test)
        drawn.add(tuple(own.test))
    assert len(drawn) > 150
    share = expected[1] / 20
    assert max(abs(seen[place] - 200 * share) for place in range(20)) < 5 * math.sqrt(200 * share * (1 - share))


def test_a_smaller_training_set_has_the_same_test_set() -> None:
    """So that curves over `task.train` compare like with like."""
    whole, few = (problem(*[None] * 20, train=train) for train in (None, 4))
    assert few.test == whole.test
    assert set(few.train) < set(whole.train)


def test_without_a_seed_the_datas_own_test_set_is_tested_on() -> None:
    """The validation set is tested on where there is no test set, as where something is learnt."""
    assert problem(*NAMED, seed=None).test == [1, 4]
    assert problem("train", "validation", None, seed=None).test == [1]


def test_without_a_seed_all_are_tested_on() -> None:
    """Of another's data nothing is learnt."""
    own = problem(*[None] * 5, seed=None)
    assert (own.train, own.test) == ([], [0, 1, 2, 3, 4])


def test_only_what_is_learnt_from_is_looked_at() -> None:
    """By scores of layers, pruning and quantisation: other examples tell answers that are tested on."""
    own = problem(*NAMED)
    assert list(own.visible) == own.train


def outcome(losses: list[float], counts: list[int]) -> AnswerOutcome:
    """What a model is worth whose examples have these mean losses."""
    sums_N = torch.tensor(losses, dtype=torch.double) * torch.tensor(counts)
    return AnswerOutcome({}, losses_N2=torch.stack([sums_N, torch.tensor(counts).double()], dim=1))


def test_the_interval_of_a_difference() -> None:
    """It holds the difference of the means over tokens, and is about 3.92 standard errors of it wide."""
    generator = torch.Generator().manual_seed(0)
    counts = torch.randint(5, 20, (200,), generator=generator).tolist()
    other = torch.rand(200, generator=generator)
    one = other - 0.1 + 0.2 * torch.randn(200, generator=generator)
    own = problem(*["test"] * 200, seed=None)
    low, high = own.difference_interval(outcome(one.tolist(), counts), outcome(other.tolist(), counts), stream(0, "x"))
    weights_N = torch.tensor(counts) / sum(counts)
    mean = float((weights_N * (one - other)).sum())
    error = float(((weights_N * (one - other - mean)) ** 2).sum().sqrt())
    assert low < mean < high
    assert high - low == pytest.approx(3.92 * error, rel=0.15)
    assert math.isnan(own.difference_interval(outcome([1.0], [1]), Outcome({}), generator)[0])


def test_equal_models_do_not_differ() -> None:
    """Whatever examples are drawn."""
    same = outcome([0.5, 1.0, 2.0, 0.1] * 5, [3, 1, 7, 2] * 5)
    assert problem(*[None] * 20, seed=None).difference_interval(same, same, stream(0, "x")) == (0.0, 0.0)


def test_too_few_texts_for_an_interval() -> None:
    """What is drawn are whole texts: many passages of one are one witness."""
    texts = TextDataset("toy", tuple(Example(text=" ".join([f"text {place} of"] * 30)) for place in range(19)))
    own = CausalLM(passage=3).problem(texts, None)
    assert len(own.test) == 570
    same = outcome([0.5] * 570, [3] * 570)
    assert all(map(math.isnan, own.difference_interval(same, same, stream(0, "x"))))
    assert CausalLM().why_no_interval({"n_test_texts": 19}) == "too few held-out texts (19) to tell"
    assert CausalLM().why_no_interval({"n_test_texts": 20}) is None


def test_passages_are_drawn_with_their_text() -> None:
    """The interval is as wide as that of the texts' means, though there are ten times as many passages."""
    generator = torch.Generator().manual_seed(0)
    texts = TextDataset("toy", tuple(Example(text=" ".join([f"text {place} of"] * 10)) for place in range(40)))
    own = CausalLM(passage=3).problem(texts, None)
    shift = torch.randn(40, generator=generator).repeat_interleave(10).tolist()
    low, high = own.difference_interval(outcome(shift, [1] * 400), outcome([0.0] * 400, [1] * 400), stream(0, "x"))
    assert high - low == pytest.approx(3.92 / 40**0.5, rel=0.2)


def test_repeated_rows_are_not_learnt_and_tested_on() -> None:
    """One row of those that repeat each other is tested on; the others are left out."""
    examples = tuple(Example(prompt=f"{place % 10}?", response="Yes.") for place in range(30))
    own = CausalLM(test=3).problem(TextDataset("toy", examples), 0)
    told = [{own.wholes[index] for index in side} for side in (own.train, own.test)]
    assert (len(own.train), len(own.test), [len(side) for side in told]) == (21, 3, [7, 3])
    assert "6 repetitions of examples that are tested on left out" in own.lines()
    assert not told[0] & told[1]


def test_repeated_rows_of_the_datas_own_splits_are_told() -> None:
    """Rows that the data have in both sets stay there, and a line says how many."""
    examples = tuple(Example(prompt="Why?", response="Yes.", split=split) for split in ("train", "test", "test"))
    assert (
        CausalLM().problem(TextDataset("toy", examples), 0).lines()[-1].startswith("2 of the test examples repeat one")
    )


def test_a_source_of_records_is_refused() -> None:
    """The data are to be texts."""
    with pytest.raises(UserError, match=r"^data: expected texts for task=causal_lm"):
        CausalLM().problem(type("Records", (), {"name": "records"})(), 0)


def test_passages_of_a_text_stay_together() -> None:
    """Whole texts are held out, also where all are longer than a passage; none is lost."""
    words = [f"{text}-{place}" for text in range(10) for place in range(7)]
    texts = TextDataset("toy", tuple(Example(text=" ".join(words[7 * text : 7 * text + 7])) for text in range(10)))
    own = CausalLM(test=3, train=5, passage=3).problem(texts, 0)
    sides = [{own.all[index].text.split("-")[0] for index in side} for side in (own.train, own.test)]
    assert [len(side) for side in sides] == [5, 3]
    assert not sides[0] & sides[1]
    assert (len(own.train), len(own.test)) == (15, 9)
    assert " ".join(part.text for part in own.all) == " ".join(words)
