"""Which pairs of labelled records a contrastive epoch goes through, streamed batch by batch."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

# Shapes: P pairs; indices are those of the labelled records.


@dataclass
class Pairs:
    """A way to pair `n_records` labelled records."""

    def indices(self, n_records: int, generator: torch.Generator) -> Tensor:
        """One epoch of pairs (P×2) in the order in which they are seen; no record is paired with itself."""
        raise NotImplementedError

    def count(self, n_records: int) -> int:
        """P, the number of pairs of an epoch."""
        raise NotImplementedError

    def problems(self) -> list[str]:
        """What is wrong with the options."""
        return []


@dataclass
class RandomPairs(Pairs):
    """Random partners for each record, whatever their class: 40 for each of 16 records give 640 pairs."""

    per_record: int = 40
    """Partners drawn for each record, with replacement, from all other records."""

    def indices(self, n_records: int, generator: torch.Generator) -> Tensor:
        """`per_record` partners of each record, shuffled."""
        left_P = torch.arange(n_records).repeat_interleave(self.per_record)
        step_P = torch.randint(1, n_records, left_P.shape, generator=generator)
        pairs_P2 = torch.stack([left_P, (left_P + step_P) % n_records], dim=1)
        return pairs_P2[torch.randperm(len(pairs_P2), generator=generator)]

    def count(self, n_records: int) -> int:
        """`per_record` a record."""
        return n_records * self.per_record

    def problems(self) -> list[str]:
        """A number of partners below 1."""
        return [] if self.per_record >= 1 else [f"pairs.per_record: expected at least 1, but got {self.per_record}"]


@dataclass
class AllPairs(Pairs):
    """Every pair of two records once an epoch: 120 pairs of 16 records."""

    def indices(self, n_records: int, generator: torch.Generator) -> Tensor:
        """All unordered pairs, shuffled."""
        pairs_P2 = torch.combinations(torch.arange(n_records))
        return pairs_P2[torch.randperm(len(pairs_P2), generator=generator)]

    def count(self, n_records: int) -> int:
        """n(n−1)/2."""
        return n_records * (n_records - 1) // 2


class PairBatch(NamedTuple):
    """Some pairs and the distinct texts in them.

    Attributes:
        texts: Indices of the distinct records, sorted; each is encoded once.
        pairs_P2: Positions in `texts` of the two records of each pair.
        same_P: Whether both are of one class.
    """

    texts: list[int]
    pairs_P2: Tensor
    same_P: Tensor


def pair_batches(indices_P2: Tensor, labels_N: Tensor, batch_size: int) -> Iterator[PairBatch]:
    """Cut an epoch of pairs into batches of `batch_size` pairs.

    Example:
        >>> batch = next(pair_batches(torch.tensor([[3, 0], [3, 5]]), torch.tensor([1, 0, 0, 1, 0, 0]), 2))
        >>> batch.texts, batch.pairs_P2.tolist(), batch.same_P.tolist()
        ([0, 3, 5], [[1, 0], [1, 2]], [True, False])
    """
    for chunk_P2 in torch.split(indices_P2, batch_size):
        texts, positions_P2 = torch.unique(chunk_P2, return_inverse=True)
        same_P = labels_N[chunk_P2[:, 0]] == labels_N[chunk_P2[:, 1]]
        yield PairBatch(texts.tolist(), positions_P2, same_P)
