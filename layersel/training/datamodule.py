"""What a training goes through, epoch by epoch, so that it can be resumed in the midst of one."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from layersel.data.tokens import TokenIds
from layersel.seeding import stream


class TrainingData(LightningDataModule):
    """Batches of what is learnt from, and the probe texts that layer scores look at.

    Args:
        tokens: Token ids of all texts of the problem, made once.
        train: Indices of the texts that are learnt from.
        seed: Of the batches and the probe.
        pool: Token ids of further texts that batches draw from, such as those without labels. They are encoded
            whenever they are drawn and not kept, so that a pool of any size takes no more memory.
        visible: Indices of the texts that tell no label, which the probe is drawn from; None = all.
    """

    draws: ClassVar[str] = "batches"
    """What an epoch draws: the name of its random stream."""

    def __init__(
        self,
        tokens: Sequence[TokenIds],
        train: Sequence[int],
        seed: int,
        pool: Sequence[TokenIds] = (),
        visible: Sequence[int] | None = None,
    ):
        super().__init__()
        self.tokens = tokens
        self.train = train
        self.seed = seed
        self.pool = pool
        self.visible = range(len(tokens)) if visible is None else visible
        self._resumed = (0, 0)

    @abstractmethod
    def epoch_batches(self, generator: torch.Generator) -> Sequence[Any]:
        """Returns the batches of one epoch, which index into `train_tokens`; `generator` makes the epoch's draws."""

    @property
    def train_tokens(self) -> list[TokenIds]:
        """Token ids of the texts that are learnt from, those of the pool after the others."""
        return [*(self.tokens[text] for text in self.train), *self.pool]

    def probe_tokens(self, size: int, first: bool = False) -> list[TokenIds]:
        """Token ids of a probe without labels: `size` texts (or all), the first ones or drawn without replacement."""
        count = len(self.visible)
        order = range(count) if first else torch.randperm(count, generator=stream(self.seed, "probe")).tolist()
        return [self.tokens[self.visible[place]] for place in order[:size]]

    def labelled_batches(self, count: int, per_example: bool = False) -> list[Any]:
        """Returns the first `count` batches of an epoch of their own, for scores that need labels.

        With `per_example` these are split into their examples, where the task has a loss for a single one.
        """
        batches = list(self.epoch_batches(stream(self.seed, "labelled probe")))[:count]
        return [part for batch in batches for part in self.examples(batch)] if per_example else batches

    def examples(self, batch: Any) -> list[Any]:
        """Returns each example of a batch as a batch of its own; the batch itself where one alone has no loss."""
        return [batch]

    def train_dataloader(self) -> "DataLoader[Any]":
        """This epoch's batches; their draws depend on the seed and the epoch's number only.

        In an epoch that is resumed the batches that it has seen come last: Lightning counts them and stops before.
        """
        epoch = 0 if self.trainer is None else self.trainer.current_epoch
        batches = list(self.epoch_batches(stream(self.seed, f"{self.draws} of epoch {epoch}")))
        resumed_epoch, seen = self._resumed
        if epoch == resumed_epoch:
            batches = batches[seen:] + batches[:seen]
        return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, Any]:
        """Returns how far the epoch is, for checkpoints."""
        if self.trainer is None:
            raise RuntimeError("state_dict without a trainer")
        seen = self.trainer.fit_loop.epoch_loop.batch_progress.current.completed
        return {"epoch": self.trainer.current_epoch, "seen": seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the epoch that `state_dict` described."""
        self._resumed = state_dict["epoch"], state_dict["seen"]
