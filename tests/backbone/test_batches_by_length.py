"""Batches of like length: complete, bounded, and the cheapest of all ways to form batches."""

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import ragged, tiny

from layersel.backbone.backbone import Backbone
from layersel.backbone.encode import token_batches
from layersel.data.tokens import batches_by_length

some_lengths = st.lists(st.integers(1, 60), max_size=30)


def _cost(batches: Sequence[Sequence[int]], lengths: Sequence[int], overhead: int) -> int:
    """Padded tokens, and the overhead of each batch."""
    return sum(len(batch) * max(lengths[text] for text in batch) + overhead for batch in batches)


def _partitions(items: list[int]) -> Iterator[list[list[int]]]:
    """All ways to form batches, whatever the order of the texts."""
    if not items:
        yield []
        return
    first, *rest = items
    for partition in _partitions(rest):
        yield [[first], *partition]
        for index, batch in enumerate(partition):
            yield [*partition[:index], [first, *batch], *partition[index + 1 :]]


def _fits(batches: Sequence[Sequence[int]], lengths: Sequence[int], max_tokens: int) -> bool:
    return all(len(batch) == 1 or len(batch) * max(lengths[text] for text in batch) <= max_tokens for batch in batches)


@given(lengths=some_lengths, max_tokens=st.integers(1, 300), overhead=st.integers(0, 100))
def test_every_text_is_in_one_batch_and_batches_fit(lengths: list[int], max_tokens: int, overhead: int) -> None:
    """Only a single text may exceed the bound, since it has to be encoded somewhere."""
    batches = batches_by_length(lengths, max_tokens, overhead)
    assert sorted(text for batch in batches for text in batch) == list(range(len(lengths)))
    assert all(batches)
    assert _fits(batches, lengths, max_tokens)


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 20), max_size=6),
    max_tokens=st.integers(1, 60),
    overhead=st.sampled_from([0, 3, 32]),
)
def test_no_other_batches_cost_less(lengths: list[int], max_tokens: int, overhead: int) -> None:
    """Brute force over all partitions of up to six texts, not only those of the sorted ones."""
    least = min(
        _cost(batches, lengths, overhead)
        for batches in _partitions(list(range(len(lengths))))
        if _fits(batches, lengths, max_tokens)
    )
    assert _cost(batches_by_length(lengths, max_tokens, overhead), lengths, overhead) == least


@given(lengths=some_lengths)
def test_the_longest_come_first(lengths: list[int]) -> None:
    """If memory does not suffice this shows at once."""
    batches = batches_by_length(lengths, 200)
    in_order = [lengths[text] for batch in batches for text in batch]
    assert in_order == sorted(lengths, reverse=True)


@pytest.mark.parametrize(("overhead", "n_batches"), [(1, 3), (10**6, 1)])
def test_overhead_decides_between_padding_and_more_batches(overhead: int, n_batches: int) -> None:
    """Next to none: each length on its own, without padding; a huge one: a single batch."""
    assert len(batches_by_length([5, 9, 5, 30, 9], 10**6, overhead)) == n_batches


def test_ready_batches_hold_each_text_once_without_its_neighbours_tokens() -> None:
    """What the mask shows of the batches is the texts."""
    texts = ragged([3, 30, 7, 30, 12])
    batches = token_batches(Backbone(tiny("bert"), None, "mean", batch_tokens=64), texts)
    shown = [
        ids[mask.bool()].tolist()
        for batch in batches
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]
    assert sorted(shown) == sorted(texts)
    assert all(batch["input_ids"].numel() <= 64 for batch in batches)
