"""The few-shot task that a review, its options and a generator make."""

from dataclasses import dataclass

import torch
from torch import Tensor

from layersel.data.reviews.duplicates import find_duplicates
from layersel.data.reviews.records import Review
from layersel.data.reviews.source import Source
from layersel.tasks.screening.split import few_shot_split


@dataclass(frozen=True)
class FewShot:
    """What is learnt from, measured and ranked.

    Attributes:
        train: Indices of the labelled records that are learnt from.
        test: Indices of all other labelled records; metrics are of these.
        rest: Indices of all records but the training ones; these are ranked.
        labels: Label of every record, −1 where unknown.
    """

    train: list[int]
    test: list[int]
    rest: list[int]
    labels: Tensor

    @classmethod
    def draw(cls, review: Review, source: Source, generator: torch.Generator) -> "FewShot":
        """Draw the training records of each class; where unlabelled records wait, none need be left to test on."""
        spare = 0 if None in review.labels else 1
        train, test = few_shot_split(review.labels, source.shots, generator, source.if_too_few, spare)
        taken = set(train)
        rest = [index for index in range(len(review.records)) if index not in taken]
        return cls(train, test, rest, cls.labelled(review)[1])

    def repeated(self, review: Review) -> int:
        """How many test records are another copy of one that is learnt from: every method ranks these for free."""
        train, test = set(self.train), set(self.test)
        groups = [set(group) for group in find_duplicates(review.records)]
        return sum(len(group & test) for group in groups if group & train)

    @staticmethod
    def labelled(review: Review) -> tuple[list[int], Tensor]:
        """Indices of all labelled records, and the label of every record, −1 where unknown."""
        labels = [-1 if label is None else label for label in review.labels]
        return [index for index, label in enumerate(labels) if label >= 0], torch.tensor(labels)
