"""The losses beside the thesis's equal their formulas, draw what they say, and train through a real trainer."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning import Callback
from resuming import assert_goes_on_as, attempt
from torch import Tensor
from toy_training import N_TRAIN, toy_tokens, toy_training
from transformers import PreTrainedTokenizerBase

from layersel.data.reviews.records import Record
from layersel.data.tokens import tokenize
from layersel.errors import UserError
from layersel.seeding import stream
from layersel.tasks.screening.losses.loss import Loss, Unlabelled
from layersel.tasks.screening.losses.pairs import AllPairs
from layersel.tasks.screening.losses.pu import PositiveUnlabelled, positive_unlabelled_loss
from layersel.tasks.screening.losses.self_supervised import SelfSupervised, two_views_loss
from layersel.tasks.screening.losses.supcon import SupCon, supervised_contrastive_loss
from layersel.tasks.screening.options import Screening

TAUS = st.floats(0.05, 2)


def vectors(n: int, seed: int) -> Tensor:
    """Random vectors of 5 dimensions in double precision."""
    return torch.randn(n, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def similarity(x: Tensor, y: Tensor, tau: float) -> float:
    """E to the power of cos/τ."""
    return math.exp(float(torch.nn.functional.cosine_similarity(x, y, dim=0)) / tau)


@given(labels=st.lists(st.integers(0, 1), min_size=3, max_size=7), seed=st.integers(0, 99), tau=TAUS)
def test_supcon_is_its_formula(labels: list[int], seed: int, tau: float) -> None:
    """Khosla et al. 2020, equation 2, record by record; whoever is alone in its class is no anchor."""
    x = vectors(len(labels), seed)
    terms = []
    for i, label in enumerate(labels):
        others = [a for a in range(len(labels)) if a != i]
        alike = [p for p in others if labels[p] == label]
        total = sum(similarity(x[i], x[a], tau) for a in others)
        if alike:
            terms.append(-sum(math.log(similarity(x[i], x[p], tau) / total) for p in alike) / len(alike))
    loss = supervised_contrastive_loss(x, torch.tensor(labels), tau)
    assert loss is not None
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-9)


@given(n=st.integers(2, 5), m=st.integers(1, 6), seed=st.integers(0, 99), tau=TAUS, prevalence=st.floats(0, 0.9))
def test_pu_is_its_formula(n: int, m: int, seed: int, tau: float, prevalence: float) -> None:
    """InfoNCE with the debiased negatives of Chuang et al. 2020, pair by pair."""
    x, u = vectors(n, seed), vectors(m, seed + 1000)
    terms = []
    for i in range(n):
        others = [j for j in range(n) if j != i]
        mean_u = sum(similarity(x[i], own, tau) for own in u) / m
        mean_j = sum(similarity(x[i], x[j], tau) for j in others) / len(others)
        g = mean_u if prevalence == 0 else max((mean_u - prevalence * mean_j) / (1 - prevalence), math.exp(-1 / tau))
        for j in others:
            own = similarity(x[i], x[j], tau)
            terms.append(-math.log(own / (own + m * g)))
    loss = positive_unlabelled_loss(x, u, tau, prevalence)
    assert loss is not None
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-6)


@given(n=st.integers(2, 6), seed=st.integers(0, 99), tau=TAUS)
def test_two_views_are_their_formula(n: int, seed: int, tau: float) -> None:
    """The mean over both directions of the log share of a record's own other view."""
    left, right = vectors(n, seed), vectors(n, seed + 1000)
    table = [[similarity(x, y, tau) for y in right] for x in left]
    rows = [math.log(table[i][i] / sum(table[i])) for i in range(n)]
    columns = [math.log(table[i][i] / sum(row[i] for row in table)) for i in range(n)]
    loss = two_views_loss(left, right, tau)
    assert loss is not None
    assert loss.item() == pytest.approx(-(sum(rows) + sum(columns)) / (2 * n), rel=1e-9)


def test_undefined_losses_are_none() -> None:
    """Not NaN and not 0: one included record, records of classes of their own, one record."""
    x = vectors(3, 0)
    assert positive_unlabelled_loss(x[:1], x, 0.1) is None
    assert supervised_contrastive_loss(x[:2], torch.tensor([0, 1]), 0.1) is None
    assert two_views_loss(x[:1], x[:1], 0.1) is None


@pytest.mark.parametrize("prevalence", [0.0, 0.3])
def test_small_temperatures_do_not_overflow(prevalence: float) -> None:
    """In float32, where e^(1/τ) is infinite; the gradient is finite too."""
    x = vectors(6, 0).float().requires_grad_()
    loss = positive_unlabelled_loss(x[:3], x[3:], 0.005, prevalence)
    assert loss is not None
    loss.backward()
    assert bool(loss.isfinite())
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())


def test_included_records_among_the_unlabelled_repel_less() -> None:
    """With the true prevalence the gradient no longer pushes an included record from its like in the pool."""
    included = torch.tensor([[1.0, 0.1], [1.0, -0.1]], requires_grad=True)
    pool = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    plain, guarded = (positive_unlabelled_loss(included, pool, 0.5, prevalence) for prevalence in (0.0, 0.5))
    assert plain is not None
    assert guarded is not None
    assert guarded < plain


def test_batches_of_pu() -> None:
    """Each epoch goes through the whole pool once, in another order; all included and no excluded records beside."""
    labels = torch.tensor([0, 1, 1, 0, 1])
    batches = PositiveUnlabelled().batches(labels, 10, 4, stream(0, "epoch"))
    assert [batch.texts[: batch.n_included] for batch in batches] == [[1, 2, 4]] * 3
    drawn = [batch.texts[batch.n_included :] for batch in batches]
    assert [len(own) for own in drawn] == [4, 4, 2]
    order = [text for own in drawn for text in own]
    assert sorted(order) == list(range(5, 15)) != order
    few = PositiveUnlabelled().batches(torch.ones(50), 4, 4, stream(0, "epoch"))
    assert [batch.n_included for batch in few] == [4]


def test_batches_of_supcon() -> None:
    """The distinct records of each batch of pairs, with their labels."""
    labels = torch.tensor([0, 1, 1, 0])
    for batch in SupCon(pairs=AllPairs()).batches(labels, 0, 3, stream(0, "epoch")):
        assert batch.texts == sorted(set(batch.texts))
        assert batch.labels_T.tolist() == labels[batch.texts].tolist()


def unlabelled(tokenizer: PreTrainedTokenizerBase) -> Unlabelled:
    """Three records, one of which lacks its abstract."""
    records = [Record("1", "Cats", "They sleep."), Record("2", "Dogs", ""), Record("3", "Owls", "They fly by night.")]
    tokens = tokenize([f"{record.title} {record.abstract}" for record in records], tokenizer)
    return Unlabelled(records, tokens, tokenizer, max_length=4)


def test_views_of_a_record(tokenizer: PreTrainedTokenizerBase) -> None:
    """Titles first, then the abstracts of the same records; as twins, each text twice."""
    rest = unlabelled(tokenizer)
    pool = SelfSupervised().pool(rest)
    assert pool == tokenize(["Cats", "Owls", "They sleep.", "They fly by night."], tokenizer, 4)
    (batch,) = SelfSupervised().batches(torch.zeros(3), len(pool), 8, stream(0, "epoch"))
    assert sorted(batch.texts) == [3, 4, 5, 6]
    assert [right - left for left, right in zip(batch.texts[:2], batch.texts[2:], strict=True)] == [2, 2]
    assert SelfSupervised(views="dropout").pool(rest) == [*rest.tokens, *rest.tokens]


def test_titles_alone_have_no_two_views(tokenizer: PreTrainedTokenizerBase) -> None:
    """A review without abstracts is refused in one line, not by an empty batch."""
    records = [Record("1", "Cats", ""), Record("2", "Dogs", "")]
    rest = Unlabelled(records, tokenize(["Cats", "Dogs"], tokenizer), tokenizer, max_length=4)
    with pytest.raises(UserError, match=r"^task\.loss\.views=title_abstract: expected .* but got none; use .*$"):
        SelfSupervised().pool(rest)


LOSSES: dict[str, Loss] = {"pu": PositiveUnlabelled(), "supcon": SupCon(), "self_supervised": SelfSupervised()}


class Losses(Callback):
    """Keeps the loss of every step."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Keep it."""
        self.values.append(float(outputs["loss"]))


@pytest.mark.parametrize("name", LOSSES)
def test_a_training_lowers_its_loss(name: str, tmp_path: Path) -> None:
    """The adapter learns what the loss asks for; only the labelled records' states are kept, whatever the pool."""
    losses = Losses()
    pool = toy_tokens()[N_TRAIN : N_TRAIN + 16]
    training = toy_training(tmp_path, callbacks=[losses], epochs=20, loss=LOSSES[name], pool=pool).fit()
    tenth = len(losses.values) // 10
    assert sum(losses.values[-tenth:]) < sum(losses.values[:tenth]) - 0.1 * tenth
    assert len(training.module._texts) == N_TRAIN  # type: ignore[arg-type]


@pytest.mark.parametrize("name", LOSSES)
def test_it_goes_on_bit_by_bit(name: str, tmp_path: Path) -> None:
    """A training that was interrupted draws and computes what an uninterrupted one does."""
    options: dict[str, Any] = {"loss": LOSSES[name], "pool": toy_tokens()[N_TRAIN : N_TRAIN + 16], "max_steps": 4}
    whole = attempt(tmp_path, **options)
    resumed = attempt(tmp_path / "again", tmp_path / "checkpoints" / "2.ckpt", **options)
    assert_goes_on_as(resumed, whole, 2)


@pytest.mark.parametrize(
    ("task", "says"),
    [
        (
            Screening(loss=SelfSupervised(views="dropout")),
            "task.loss.views: views that differ by dropout only need task.dropout=true",
        ),
    ],
)
def test_wrong_tasks(task: Screening, says: str) -> None:
    """One line each."""
    assert task.problems() == [says]


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        (SupCon(temperature=0), "task.loss.temperature: expected a number above 0, but got 0"),
        (PositiveUnlabelled(prevalence=1), "task.loss.prevalence: expected a share from 0 to below 1, but got 1"),
        (SelfSupervised(views="x"), "task.loss.views: expected one of title_abstract, dropout, but got 'x'"),
    ],
)
def test_wrong_losses(loss: Loss, says: str) -> None:
    """One line each."""
    assert loss.problems() == [says]
