"""The base classes of all sources of texts."""

from abc import abstractmethod
from dataclasses import dataclass

from layersel.data.source import Source
from layersel.data.texts.examples import TextDataset


@dataclass
class TextSource(Source):
    """Texts with labels, with responses, or plain."""

    @abstractmethod
    def load(self) -> TextDataset:
        """Reads the dataset.

        Raises:
            UserError: An option is wrong, or the data are missing or damaged.
        """


@dataclass
class LabelledSource(TextSource):
    """Texts that may have labels, or are to get some."""


@dataclass
class AnswerSource(TextSource):
    """Texts that may be answers to prompts, or plain."""
