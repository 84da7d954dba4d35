"""A dataset under a seed: what is learnt from it, how a model is judged on it, and what comes of that."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from layersel.backbone.backbone import Backbone
from layersel.backbone.encode import encode
from layersel.backbone.prefix import PrefixCache
from layersel.data.source import Dataset
from layersel.data.tokens import TokenizedTexts
from layersel.runs.fingerprints import text_fingerprint
from layersel.runs.store import Store
from layersel.tasks.curves import Curves
from layersel.tasks.task import Task
from layersel.training.adapter_module import AdapterModule
from layersel.training.datamodule import TrainingData

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Outcome:
    """What a model, or a reference without one, is worth for a problem. A task may add what its files and figures need.

    Attributes:
        metrics: Numbers by name, NaN where undefined.
        counts: How much they are of, by names that begin with `n_`.
        head: What was fitted on top of the model; None without one.
    """

    metrics: dict[str, float]
    counts: dict[str, int] = field(default_factory=dict)
    head: Any = None


Recall = Callable[[str, Any, Callable[[], Tensor], Sequence[Any]], Tensor]
"""Returns what another cell has computed, or computes it: kind, what decides it, how, and the code that does."""


@dataclass(frozen=True)
class Subject:
    """A model with the texts of a problem, as it is judged.

    Attributes:
        backbone: The model as it stands, adapted or not.
        texts: All texts of the problem.
        cache: Runs the model over them, and starts above what it has kept.
        inference: The context in which the model runs in the cell's inference precision.
        name: What the model is called beside a progress bar.
        recall: Finds what another cell has computed of the same model; None where no other one can.
    """

    backbone: Backbone
    texts: TokenizedTexts
    cache: PrefixCache
    inference: Callable[[], AbstractContextManager[object]]
    name: str
    recall: Recall | None = None

    def vectors(self) -> Tensor:
        """Computes the vectors (N×D) of all texts in the inference precision."""
        return self.computed("vectors", None, lambda: encode(self.cache, f"encoding, {self.name}"), [encode])

    def computed(self, kind: str, key: Any, compute: Callable[[], Tensor], code: Sequence[Any]) -> Tensor:
        """Returns what `compute` computes of the model in the inference precision, or has computed for another cell.

        Args:
            kind: What it is, in one word.
            key: What decides it beside the model and the texts; anything that JSON can hold.
            compute: Does it.
            code: The functions and classes that do it.
        """

        def run() -> Tensor:
            with self.inference():
                return compute()

        return run() if self.recall is None else self.recall(kind, key, run, code)


class Problem(ABC):
    """What a task makes of one dataset under one seed.

    Attributes:
        task: The options.
        dataset: What was read.
        train: Indices of the texts that are learnt from.
        test: Indices of the texts that models are judged on.
        unlabelled: Indices of all texts but those of `train`; they may be looked at without their labels.
    """

    task: Task
    dataset: Dataset
    train: list[int]
    test: list[int]
    unlabelled: list[int]

    def lines(self) -> list[str]:
        """Returns what was read and how it is split, for the terminal."""
        return self.dataset.lines()

    @abstractmethod
    def texts(self, tokenizer: PreTrainedTokenizerBase) -> list[str]:
        """Returns all texts, as this tokenizer wants them."""

    @property
    def token_key(self) -> Any:
        """What decides the token ids beside the texts; anything that JSON can hold."""
        return None

    def tokenized(self, tokenizer: PreTrainedTokenizerBase, max_length: int) -> TokenizedTexts:
        """Returns all texts with their token ids; a task whose texts have parts does it its own way."""
        return TokenizedTexts.of(self.texts(tokenizer), tokenizer, max_length)

    @property
    def visible(self) -> Sequence[int]:
        """Indices of the texts that layer scores, pruning and quantisation may look at: all, if they tell no label."""
        return range(len(self.train) + len(self.unlabelled))

    @abstractmethod
    def data(self, texts: TokenizedTexts, tokenizer: PreTrainedTokenizerBase, seed: int) -> TrainingData:
        """Returns the datamodule of the training.

        Args:
            texts: All texts of the problem.
            tokenizer: Has tokenised them.
            seed: Of its draws.
        """

    @abstractmethod
    def module(self, backbone: Backbone) -> AdapterModule:
        """Returns the LightningModule that trains an adapter in the backbone."""

    @abstractmethod
    def judge(self, subject: Subject, head: Any = None) -> Outcome:
        """Returns what a model is worth on the texts of `test`.

        Args:
            subject: The model.
            head: What was fitted or trained on top of it in a run; None fits it anew on what is learnt from.
        """

    def leave_out(self, texts: TokenizedTexts, learnt: Container[str]) -> None:
        """Takes those texts out of `test` whose fingerprints are among `learnt`: an adapter has learnt from them."""
        self.test = [index for index in self.test if self.fingerprint_of(index, texts) not in learnt]

    def fingerprint_of(self, index: int, texts: TokenizedTexts) -> str:
        """Returns the fingerprint of a text, by which other data are told to have it too."""
        return text_fingerprint(texts.texts[index])

    def references(self, store: Store, base: Outcome) -> dict[str, Outcome]:
        """Returns the outcomes that an adapter must beat, by the names of `Task.references`.

        Args:
            store: Keeps what other cells need too.
            base: The outcome of the pretrained model.
        """
        return {}

    @abstractmethod
    def write(self, outcome: Outcome, folder: Path) -> None:
        """Writes the task's own files about the outcome of a model, its head among them, into a folder."""

    def predict(self, subject: Subject, head: Any, path: Path) -> int:
        """Writes predictions for all texts that are not learnt from; returns for how many."""
        raise NotImplementedError

    def token_lines(self, texts: TokenizedTexts, tokenizer: PreTrainedTokenizerBase) -> list[str]:
        """Returns what tokenising the texts has shown, for the terminal."""
        return [texts.lengths_line()]

    def changes(self, adapted: Outcome, base: Outcome) -> dict[str, float]:
        """Returns metrics of how far the final model has moved away from the pretrained one, by name."""
        return {}

    def tables(self, outcomes: Mapping[str, Outcome]) -> dict[str, tuple[list[str], list[list[Any]]]]:
        """Returns tables of the outcomes for the loggers, by name: columns and rows."""
        return {}

    def figures(self, outcomes: Mapping[str, Outcome]) -> dict[str, "Figure"]:
        """Figures of the outcomes (`adapted`, `base`, references) by name."""
        return {}

    def further_figures(self, outcomes: Mapping[str, Outcome], texts: TokenizedTexts) -> dict[str, "Figure"]:
        """Draws more figures of these and of the texts, which take seconds: a cell of a grid does so on demand only."""
        return {}

    def curves(self, outcomes: Mapping[str, Outcome], texts: TokenizedTexts) -> dict[str, Curves]:
        """Returns curves of the outcomes by name, which a grid averages over its cells; few points, at fixed places.

        Those of the name LENGTHS are the quantiles of the lengths of groups of texts, which a grid draws by dataset.
        """
        return {}

    def difference_interval(self, one: Outcome, other: Outcome, generator: torch.Generator) -> tuple[float, float]:
        """Returns between what the difference of two outcomes' primary metric lies (95 %) over other such test data.

        The ends are NaN where that is unknown.
        """
        return math.nan, math.nan

    def learnt(self, texts: TokenizedTexts) -> list[dict[str, Any]]:
        """Returns what is learnt from: for each text at least its fingerprint, as `text`."""
        return [{"text": self.fingerprint_of(index, texts)} for index in self.train]

    def held_out_loss(self, texts: PrefixCache) -> float:
        """Returns the loss on `texts`, those that are learnt from, each part under a head that has not seen it.

        It is there if the task offers HELD_OUT_LOSS.
        """
        raise NotImplementedError

    def logits(self, head: Any, texts: PrefixCache, batch: Sequence[int]) -> Tensor:
        """Returns the log-odds (N) that a run's head gives the texts with these indices, differentiable in the model.

        They are there if the task offers LOGITS.
        """
        raise NotImplementedError
