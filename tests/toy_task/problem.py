"""Texts under a seed: some to learn from, the others to judge on."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from layersel.backbone.backbone import Backbone
from layersel.backbone.prefix import PrefixCache
from layersel.data.tokens import TokenizedTexts
from layersel.runs.store import Store
from layersel.seeding import stream
from layersel.tasks.problem import Outcome, Problem, Subject
from layersel.training.adapter_module import AdapterModule
from layersel.training.datamodule import TrainingData
from toy_task.options import HEAD, Regression
from toy_task.ridge import Ridge, held_out_mse
from toy_task.source import NumberedTexts


class Batch(NamedTuple):
    """Indices of texts that are learnt from, and their numbers."""

    texts: list[int]
    numbers: Tensor


class RegressionData(TrainingData):
    """Each epoch goes through the texts in another order."""

    def __init__(self, texts: TokenizedTexts, problem: "RegressionProblem", seed: int):
        super().__init__(texts.tokens, problem.train, seed)
        self.numbers = problem.numbers[problem.train]
        self.batch_size = problem.task.batch_size

    def epoch_batches(self, generator: torch.Generator) -> list[Batch]:
        """The batches of one epoch."""
        order = torch.randperm(len(self.train), generator=generator)
        return [Batch(chunk.tolist(), self.numbers[chunk]) for chunk in torch.split(order, self.batch_size)]


class RegressionModule(AdapterModule):
    """Trains the adapter by the held-out error of a ridge in each batch."""

    options: Regression

    def loss(self, batch: Batch) -> Tensor | None:
        """The error; None for a single text, which nothing is held out from."""
        if len(batch.texts) == 1:
            return None
        return held_out_mse(self.vectors(batch.texts), batch.numbers, self.options.penalty)


class RegressionProblem(Problem):
    """Texts with numbers, some of which are learnt from."""

    task: Regression
    dataset: NumberedTexts

    def __init__(self, task: Regression, dataset: NumberedTexts, seed: int | None):
        self.task, self.dataset = task, dataset
        self.numbers = torch.tensor([math.nan if number is None else number for number in dataset.numbers])
        order = [] if seed is None else torch.randperm(len(dataset.texts), generator=stream(seed, "split")).tolist()
        self.train = sorted(order[: task.learnt_from])
        self.unlabelled = [index for index in range(len(dataset.texts)) if index not in self.train]
        self.test = [index for index in self.unlabelled if dataset.numbers[index] is not None]

    def texts(self, tokenizer: PreTrainedTokenizerBase) -> list[str]:
        """The texts as they are."""
        return self.dataset.texts

    def data(self, texts: TokenizedTexts, tokenizer: PreTrainedTokenizerBase, seed: int) -> RegressionData:
        """Batches of the texts that are learnt from."""
        return RegressionData(texts, self, seed)

    def module(self, backbone: Backbone) -> RegressionModule:
        """The training."""
        return RegressionModule(backbone, self.task)

    def judge(self, subject: Subject, head: Any = None) -> Outcome:
        """Returns the error of a ridge on the vectors."""
        vectors_ND = subject.vectors()
        if head is None:
            head = Ridge.fit(vectors_ND[self.train], self.numbers[self.train], self.task.penalty)
        return self._outcome(head.predict(vectors_ND), self.test, head)

    def references(self, store: Store, base: Outcome) -> dict[str, Outcome]:
        """Returns the error of the mean of what is learnt from."""
        mean = self.numbers[self.train].mean()
        return {"mean": self._outcome(mean.expand(len(self.numbers)), self.test, None)}

    def write(self, outcome: Outcome, folder: Path) -> None:
        """Writes the ridge."""
        folder.mkdir(parents=True, exist_ok=True)
        outcome.head.save(folder / HEAD)

    def predict(self, subject: Subject, head: Ridge, path: Path) -> int:
        """Writes each text with its predicted number."""
        predicted = head.predict(subject.vectors())
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["text", "number"])
            table.writerows([self.dataset.texts[index], float(predicted[index])] for index in self.unlabelled)
        return len(self.unlabelled)

    def held_out_loss(self, texts: PrefixCache) -> float:
        """Returns the error of each text that is learnt from under the ridge of the others."""
        vectors_ND = texts.vectors(range(len(self.train))).float().cpu()
        return float(held_out_mse(vectors_ND, self.numbers[self.train], self.task.penalty))

    def _outcome(self, predicted_N: Tensor, test: Sequence[int], head: Ridge | None) -> Outcome:
        error = (predicted_N - self.numbers)[list(test)].double()
        return Outcome({"rmse": float(error.square().mean().sqrt())}, {"n_test": len(test)}, head)
