"""Pairs: their numbers, their distribution, and the batches that they are cut into."""

import math
from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toy_training import toy_tokens

from layersel.seeding import stream
from layersel.tasks.screening.datamodule import ScreeningData
from layersel.tasks.screening.losses.pairs import AllPairs, Pairs, RandomPairs
from layersel.tasks.screening.losses.pairwise import PairBatch, Pairwise, pair_batches
from layersel.tasks.screening.options import Screening

BOTH = [RandomPairs(per_record=3), AllPairs()]
OPTIONS = Screening(loss=Pairwise(pairs=RandomPairs(4)), batch_size=8)


def test_the_thesis_has_640_pairs() -> None:
    """40 partners for each of 16 records."""
    pairs_P2 = RandomPairs(per_record=40).indices(16, stream(0, "pairs"))
    assert pairs_P2.shape == (640, 2)
    assert RandomPairs(per_record=40).count(16) == 640
    assert pairs_P2[:, 0].bincount().tolist() == [40] * 16


@given(n=st.integers(2, 12), seed=st.integers(0, 99))
@pytest.mark.parametrize("pairs", BOTH)
def test_count_is_true_and_nobody_meets_himself(pairs: Pairs, n: int, seed: int) -> None:
    """`count` is the number of pairs; both of a pair are different records of the n."""
    pairs_P2 = pairs.indices(n, stream(seed, "pairs"))
    assert len(pairs_P2) == pairs.count(n)
    assert bool((pairs_P2[:, 0] != pairs_P2[:, 1]).all())
    assert set(pairs_P2.flatten().tolist()) <= set(range(n))


def test_partners_are_uniform_over_all_others() -> None:
    """Each of the other four gets a quarter of a record's 8,000 partners, give or take five standard deviations."""
    pairs_P2 = RandomPairs(per_record=8000).indices(5, stream(0, "pairs"))
    for record in range(5):
        counts = pairs_P2[pairs_P2[:, 0] == record, 1].bincount(minlength=5).tolist()
        assert counts.pop(record) == 0
        assert all(abs(count - 2000) < 5 * math.sqrt(8000 * 0.25 * 0.75) for count in counts)


@given(n=st.integers(2, 12))
def test_all_pairs_are_all_combinations_once(n: int) -> None:
    """C(n, 2) unordered pairs."""
    found = [tuple(sorted(pair)) for pair in AllPairs().indices(n, stream(0, "pairs")).tolist()]
    assert sorted(found) == list(combinations(range(n), 2))


@pytest.mark.parametrize("pairs", BOTH)
def test_pairs_depend_on_the_generator_only(pairs: Pairs) -> None:
    """The same stream, the same order; another one, another order."""
    first, again, other = (pairs.indices(9, stream(seed, "pairs")).tolist() for seed in (0, 0, 1))
    assert first == again
    assert first != other


@given(n=st.integers(2, 9), batch_size=st.integers(1, 20), seed=st.integers(0, 99))
@pytest.mark.parametrize("pairs", BOTH)
def test_batches_hold_the_pairs_in_order(pairs: Pairs, n: int, batch_size: int, seed: int) -> None:
    """The pairs and their classes can be read back, and each distinct text stands once in its batch."""
    pairs_P2 = pairs.indices(n, stream(seed, "pairs"))
    labels = torch.randint(2, (n,), generator=torch.Generator().manual_seed(seed))
    batches = list(pair_batches(pairs_P2, labels, batch_size))
    assert torch.cat([torch.tensor(batch.texts)[batch.pairs_P2] for batch in batches]).tolist() == pairs_P2.tolist()
    same = [bool(labels[left] == labels[right]) for left, right in pairs_P2.tolist()]
    assert torch.cat([batch.same_P for batch in batches]).tolist() == same
    assert all(batch.texts == sorted(set(batch.texts)) for batch in batches)
    sizes = [len(batch.same_P) for batch in batches]
    assert all(size == batch_size for size in sizes[:-1])
    assert 1 <= sizes[-1] <= batch_size


class _Epoch:
    """As much of a trainer as the data look at."""

    def __init__(self, epoch: int):
        self.current_epoch = epoch


def _pairs_of_epoch(epoch: int, seed: int = 0) -> list[tuple[list[int], list[list[int]]]]:
    data = ScreeningData(toy_tokens(), range(10, 22), torch.arange(12) % 2, OPTIONS, seed)
    data.trainer = _Epoch(epoch)  # type: ignore[assignment]
    return [(batch.texts, batch.pairs_P2.tolist()) for batch in data.train_dataloader()]


def test_epochs_draw_their_own_pairs() -> None:
    """By seed and number of the epoch: whoever comes back to epoch 1 finds the same pairs."""
    assert _pairs_of_epoch(0) != _pairs_of_epoch(1)
    assert _pairs_of_epoch(1) == _pairs_of_epoch(1)
    assert _pairs_of_epoch(1) != _pairs_of_epoch(1, seed=1)


def test_loader_keeps_batches_whole() -> None:
    """12 records × 4 partners are 6 batches of 8 pairs, indices into the labelled records."""
    data = ScreeningData(toy_tokens(), range(10, 22), torch.arange(12) % 2, OPTIONS, seed=0)
    batches = list(data.train_dataloader())
    assert len(data.train_dataloader()) == len(batches) == 6
    assert all(isinstance(batch, PairBatch) and max(batch.texts) < 12 for batch in batches)
    assert data.train_tokens == toy_tokens()[10:22]


def test_probe_is_drawn_from_all_records_without_repeats() -> None:
    """A smaller probe is the beginning of a larger one; the pairs' size does not move it."""
    data = ScreeningData(toy_tokens(), range(4), torch.arange(4) % 2, OPTIONS, seed=0)
    probe = data.probe_tokens(99)
    assert sorted(probe) == sorted(toy_tokens())
    assert data.probe_tokens(5) == probe[:5]
    other = ScreeningData(toy_tokens(), range(4), torch.arange(4) % 2, OPTIONS, seed=1)
    assert other.probe_tokens(5) != probe[:5]
    assert data.probe_tokens(5, first=True) == other.probe_tokens(5, first=True) == toy_tokens()[:5]
