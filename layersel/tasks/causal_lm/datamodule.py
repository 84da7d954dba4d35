"""The examples that are learnt from as a datamodule: each epoch puts them into batches anew."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch

from layersel.data.tokens import TokenIds, TokenizedTexts
from layersel.training.datamodule import TrainingData
from layersel.training.hyperparameters import Hyperparameters


class AnswerBatch(NamedTuple):
    """What a step looks at.

    Attributes:
        texts: Indices of the texts, among those that are learnt from.
        answers: For each of them, 1 where a token is to be predicted.
        n_tokens: By how many tokens the sum of their losses is divided: the mean over the batches of a training step.
    """

    texts: list[int]
    answers: list[list[int]]
    n_tokens: float


class AnswerData(TrainingData):
    """Batches of examples; layer scores and calibration see the examples that are learnt from, answers included.

    Args:
        texts: All texts of the problem.
        train: Indices of those that are learnt from.
        options: How large a batch and a step are.
        seed: Of the order and the probe.
        ends: The tokens that may end an answer: the tokenizer's own, or that of a template.
    """

    def __init__(
        self, texts: TokenizedTexts, train: Sequence[int], options: Hyperparameters, seed: int, ends: Collection[int]
    ):
        super().__init__(texts.tokens, train, seed, visible=train)
        self.ends = ends
        self.answers = [texts.answers[text] for text in train]
        self.options = options

    def probe_tokens(self, size: int, first: bool = False) -> list[TokenIds]:
        """Token ids of a probe, without the token that ends every answer: as the last one it would tell no text.

        So it is in the paper's code too, which pads with that token and masks what pads.
        """
        probe = super().probe_tokens(size, first)
        return [ids[:-1] if ids[-1] in self.ends and len(ids) > 1 else ids for ids in probe]

    def epoch_batches(self, generator: torch.Generator) -> Sequence[AnswerBatch]:
        """Returns all examples, in an order of the epoch's own; each token of a step weighs as much as any other."""
        order = torch.randperm(len(self.train), generator=generator)
        batches = [part.tolist() for part in torch.split(order, self.options.batch_size)]
        found = []
        for start in range(0, len(batches), self.options.accumulate):
            step = batches[start : start + self.options.accumulate]
            n_tokens = sum(sum(self.answers[text][1:]) for texts in step for text in texts) / len(step)
            found += [AnswerBatch(texts, [self.answers[text] for text in texts], n_tokens) for texts in step]
        return found

    def examples(self, batch: AnswerBatch) -> list[AnswerBatch]:
        """Returns each example of a batch as a batch of its own, whose loss is the mean over its tokens."""
        return [AnswerBatch([text], [own], sum(own[1:])) for text, own in zip(batch.texts, batch.answers, strict=True)]
