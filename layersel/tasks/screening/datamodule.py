"""The labelled records of a review as a datamodule: each epoch is a new set of pairs."""

from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from layersel.data.tokens import TokenIds
from layersel.tasks.screening.options import Screening
from layersel.training.datamodule import TrainingData

# Shapes: P pairs; indices are those of the labelled records.


class ScreeningData(TrainingData):
    """Batches of pairs of the labelled records.

    Args:
        tokens: Token ids of all records of the review, made once.
        train: Indices of the labelled records.
        labels: Their labels, in the same order.
        options: How they are paired, and how many pairs a batch has.
        seed: Of the pairs and the probe.
    """

    draws: ClassVar[str] = "pairs"

    def __init__(self, tokens: Sequence[TokenIds], train: Sequence[int], labels: Tensor, options: Screening, seed: int):
        super().__init__(tokens, train, seed)
        self.labels = labels
        self.options = options

    def epoch_batches(self, generator: torch.Generator) -> list["PairBatch"]:
        """Returns the batches of one epoch of pairs."""
        indices_P2 = self.options.pairs.indices(len(self.train), generator)
        return list(pair_batches(indices_P2, self.labels, self.options.batch_size))


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
