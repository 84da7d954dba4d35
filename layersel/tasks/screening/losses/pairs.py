"""Which pairs of labelled records a contrastive epoch goes through."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Shapes: P pairs; indices are those of the labelled records.


@dataclass
class Pairs:
    """A way to pair `n_records` labelled records."""

    def indices(self, n_records: int, generator: "torch.Generator") -> "Tensor":
        """One epoch of pairs (P×2) in the order in which they are seen; no record is paired with itself."""
        raise NotImplementedError

    def count(self, n_records: int) -> int:
        """P, the number of pairs of an epoch."""
        raise NotImplementedError

    def problems(self) -> list[str]:
        """Returns one line for each option that is out of range."""
        return []


@dataclass
class RandomPairs(Pairs):
    """Random partners for each record, whatever their class: 40 for each of 16 records give 640 pairs."""

    per_record: int = 40
    """Partners drawn for each record, with replacement, from all other records."""

    def indices(self, n_records: int, generator: "torch.Generator") -> "Tensor":
        """Returns `per_record` partners of each record, shuffled."""
        import torch

        left_P = torch.arange(n_records).repeat_interleave(self.per_record)
        step_P = torch.randint(1, n_records, left_P.shape, generator=generator)
        pairs_P2 = torch.stack([left_P, (left_P + step_P) % n_records], dim=1)
        return pairs_P2[torch.randperm(len(pairs_P2), generator=generator)]

    def count(self, n_records: int) -> int:
        """Counts `per_record` pairs for each record."""
        return n_records * self.per_record

    def problems(self) -> list[str]:
        """Returns a line if there are no partners."""
        if self.per_record >= 1:
            return []
        return [f"task.loss.pairs.per_record: expected at least 1, but got {self.per_record}"]


@dataclass
class AllPairs(Pairs):
    """Every pair of two records once an epoch: 120 pairs of 16 records."""

    def indices(self, n_records: int, generator: "torch.Generator") -> "Tensor":
        """Returns all unordered pairs, shuffled."""
        import torch

        pairs_P2 = torch.combinations(torch.arange(n_records))
        return pairs_P2[torch.randperm(len(pairs_P2), generator=generator)]

    def count(self, n_records: int) -> int:
        """Counts n(n−1)/2 pairs."""
        return n_records * (n_records - 1) // 2
