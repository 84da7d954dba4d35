"""Texts with a number: made by a formula, or read from a CSV file."""

import csv
import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from layersel.data.source import Dataset, Source
from layersel.runs.fingerprints import fingerprint

SEVERITY = {"no": 0.0, "mild": 1.0, "acute": 2.0, "chronic": 4.0, "severe": 8.0}


@dataclass(frozen=True)
class NumberedTexts(Dataset):
    """Texts, and the number of each, None where it is not known."""

    name: str
    texts: list[str]
    numbers: list[float | None]

    def fingerprint(self) -> str:
        """Returns a hash of the texts and their numbers."""
        return fingerprint([self.texts, self.numbers])

    def lines(self) -> list[str]:
        """Returns how many texts there are."""
        return [f"{len(self.texts)} texts, {sum(number is not None for number in self.numbers)} with a number"]


@dataclass
class TextSource(Source, ABC):
    """A place to read texts with numbers from."""

    def problems(self) -> list[str]:
        """Returns nothing: reading shows what is wrong."""
        return []

    @abstractmethod
    def load(self) -> NumberedTexts:
        """Reads the texts."""


@dataclass
class Generated(TextSource):
    """Texts of five words, whose number is the sum of how severe these are."""

    topic: str = "stress"
    """The word that every text ends with."""
    count: int = 40
    """How many texts there are."""

    named_by: ClassVar[str | None] = "topic"

    @property
    def name(self) -> str:
        """The topic."""
        return self.topic

    def load(self) -> NumberedTexts:
        """Makes the texts, the same for the same topic."""
        draws = random.Random(self.topic)
        drawn = [draws.choices(list(SEVERITY), k=5) for _ in range(self.count)]
        texts = [" ".join([*words, self.topic]) for words in drawn]
        return NumberedTexts(self.name, texts, [sum(map(SEVERITY.__getitem__, words)) for words in drawn])


@dataclass
class TextFile(TextSource):
    """A CSV file with the column `text`; its numbers are not known."""

    path: str

    @property
    def name(self) -> str:
        """The file's name."""
        return Path(self.path).stem

    def load(self) -> NumberedTexts:
        """Reads the file."""
        with Path(self.path).open(newline="", encoding="utf-8") as file:
            texts = [row["text"] for row in csv.DictReader(file)]
        return NumberedTexts(self.name, texts, [None] * len(texts))
