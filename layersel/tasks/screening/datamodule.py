"""The few-shot task as a LightningDataModule: pairs of the labelled records, token ids of all of them."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from layersel.data.tokens import TokenIds
from layersel.seeding import stream
from layersel.tasks.screening.pairs import PairBatch, Pairs, pair_batches


class ScreeningData(LightningDataModule):
    """Pair batches of the labelled records, and the probe texts that layer scores look at.

    Args:
        tokens: Token ids of all records of the review, made once.
        train: Indices of the labelled records.
        labels: Their labels, in the same order.
        pairs: How they are paired.
        batch_size: Pairs a batch.
        seed: Of the pairs and the probe.
    """

    def __init__(
        self,
        tokens: Sequence[TokenIds],
        train: Sequence[int],
        labels: Tensor,
        pairs: Pairs,
        batch_size: int,
        seed: int,
    ):
        super().__init__()
        self.tokens = tokens
        self.train = train
        self.labels = labels
        self.pairs = pairs
        self.batch_size = batch_size
        self.seed = seed
        self._resumed = (0, 0)

    @property
    def train_tokens(self) -> list[TokenIds]:
        """Token ids of the labelled records; pair batches index into this list."""
        return [self.tokens[record] for record in self.train]

    def probe_tokens(self, size: int) -> list[TokenIds]:
        """Token ids of a probe: `size` records (or all), drawn without replacement and without their labels."""
        order = torch.randperm(len(self.tokens), generator=stream(self.seed, "probe"))
        return [self.tokens[record] for record in order[:size]]

    def train_dataloader(self) -> "DataLoader[PairBatch]":
        """This epoch's pair batches; its draws depend on the seed and the epoch's number only.

        In an epoch that is resumed the batches that it has seen come last: Lightning counts them and stops before.
        """
        epoch = 0 if self.trainer is None else self.trainer.current_epoch
        indices_P2 = self.pairs.indices(len(self.train), stream(self.seed, f"pairs of epoch {epoch}"))
        batches = list(pair_batches(indices_P2, self.labels, self.batch_size))
        resumed_epoch, seen = self._resumed
        if epoch == resumed_epoch:
            batches = batches[seen:] + batches[:seen]
        return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, Any]:
        """How far the epoch is, for checkpoints."""
        if self.trainer is None:
            raise RuntimeError("state_dict without a trainer")
        seen = self.trainer.fit_loop.epoch_loop.batch_progress.current.completed
        return {"epoch": self.trainer.current_epoch, "seen": seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on there."""
        self._resumed = state_dict["epoch"], state_dict["seen"]
