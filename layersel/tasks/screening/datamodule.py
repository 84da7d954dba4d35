"""The records of a review as a datamodule: each epoch draws the batches of the task's loss anew."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from layersel.data.tokens import TokenIds
from layersel.tasks.screening.losses.loss import Batch
from layersel.tasks.screening.options import Screening
from layersel.training.datamodule import TrainingData


class ScreeningData(TrainingData):
    """Batches of labelled records and, if the loss wants them, of texts without labels.

    Args:
        tokens: Token ids of all records of the review, made once.
        train: Indices of the labelled records.
        labels: Their labels, in the same order.
        options: The loss, and how large a batch is.
        seed: Of the batches and the probe.
        pool: Token ids of the texts without labels.
    """

    draws: ClassVar[str] = "pairs"

    def __init__(
        self,
        tokens: Sequence[TokenIds],
        train: Sequence[int],
        labels: Tensor,
        options: Screening,
        seed: int,
        pool: Sequence[TokenIds] = (),
    ):
        super().__init__(tokens, train, seed, pool)
        self.labels = labels
        self.options = options

    def epoch_batches(self, generator: torch.Generator) -> Sequence[Batch]:
        """Returns the batches of one epoch."""
        return self.options.loss.batches(self.labels, len(self.pool), self.options.batch_size, generator)
