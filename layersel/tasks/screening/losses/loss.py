"""The options of a loss, and the contract that they fulfil."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from layersel.data.reviews.records import Record
    from layersel.data.tokens import TokenIds

# Shapes: T texts of a batch, L labelled records, D hidden size.


class Batch(Protocol):
    """What a step looks at; a loss adds what it needs to know of the texts.

    Attributes:
        texts: Indices of the texts whose vectors are needed: those of the labelled records are 0 … L−1, those of the
            loss's pool follow. Each is encoded once.
    """

    @property
    def texts(self) -> list[int]:
        """Returns the indices."""


@dataclass(frozen=True)
class Unlabelled:
    """The records of a review that are not learnt from; their labels, if they have any, are not looked at.

    Attributes:
        records: The records.
        tokens: Their texts' token ids.
        tokenizer: Turns parts of the texts into token ids too.
        max_length: The most tokens of a text.
    """

    records: Sequence["Record"]
    tokens: Sequence["TokenIds"]
    tokenizer: "PreTrainedTokenizerBase"
    max_length: int


@dataclass
class Loss:
    """What an adapter is trained for."""

    temperature: float = 0.2
    """τ: cosine similarities are divided by it."""

    no_loss: ClassVar[str]
    """Why every batch of a training may have lacked a loss, and what to do."""
    min_included: ClassVar[int] = 1
    """Included records that it needs at least."""

    @property
    def needs_dropout(self) -> bool:
        """Returns whether it is of use under dropout only."""
        return False

    def pool(self, unlabelled: Unlabelled) -> "list[TokenIds]":
        """Returns the texts without labels that batches draw from; none for a loss of labelled records only."""
        return []

    def batches(self, labels_L: "Tensor", n_pool: int, size: int, generator: "torch.Generator") -> Sequence[Batch]:
        """Returns the batches of one epoch.

        Args:
            labels_L: Labels of the labelled records, 1 included and 0 excluded.
            n_pool: Texts of the pool.
            size: `task.batch_size`.
            generator: Makes the epoch's draws.
        """
        raise NotImplementedError

    def of(self, vectors_TD: "Tensor", batch: Batch) -> "Tensor | None":
        """Returns the loss (0-dimensional) of a batch by its texts' vectors; None where it is undefined."""
        raise NotImplementedError

    def problems(self) -> list[str]:
        """Returns one line for each option that is out of range."""
        if self.temperature > 0:
            return []
        return [f"task.loss.temperature: expected a number above 0, but got {self.temperature}"]
