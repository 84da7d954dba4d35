"""No texts."""

from dataclasses import dataclass

from layersel.data.texts.examples import TextDataset
from layersel.data.texts.source import TextSource


@dataclass
class NoTexts(TextSource):
    """A source without any text, where texts are an option."""

    @property
    def name(self) -> str:
        """The name of the choice."""
        return "none"

    def problems(self) -> list[str]:
        """Returns nothing: there are no options."""
        return []

    def load(self) -> TextDataset:
        """Returns no example."""
        return TextDataset(self.name, ())
