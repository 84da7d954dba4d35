"""Labelled examples as a datamodule: each epoch goes through them in another order."""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from layersel.data.tokens import TokenIds, TokenizedTexts
from layersel.training.datamodule import TrainingData


class Batch(NamedTuple):
    """Indices of texts that are learnt from, and their targets: the index of a class, or a number."""

    texts: list[int]
    targets: Tensor


class ClassificationData(TrainingData):
    """Batches of examples.

    Args:
        texts: All texts of the problem.
        train: Indices of those that are learnt from.
        validation: Indices of those that say when to stop.
        targets: The targets of all texts.
        batch_size: Examples in a batch.
        seed: Of the batches and the probe.
    """

    draws: ClassVar[str] = "examples"

    def __init__(
        self,
        texts: TokenizedTexts,
        train: Sequence[int],
        validation: Sequence[int],
        targets: Tensor,
        batch_size: int,
        seed: int,
    ):
        super().__init__(texts.tokens, train, seed)
        self.validation_tokens: list[TokenIds] = [texts.tokens[index] for index in validation]
        self.validation_targets = targets[list(validation)]
        self.targets = targets[list(train)]
        self.batch_size = batch_size

    def epoch_batches(self, generator: torch.Generator) -> list[Batch]:
        """Returns the batches of one epoch."""
        order = torch.randperm(len(self.train), generator=generator)
        return [Batch(chunk.tolist(), self.targets[chunk]) for chunk in torch.split(order, self.batch_size)]

    def examples(self, batch: Batch) -> list[Batch]:
        """Returns each example of a batch as a batch of its own."""
        return [Batch([text], target) for text, target in zip(batch.texts, torch.split(batch.targets, 1), strict=True)]
