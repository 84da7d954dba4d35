"""Embedded passages on Python, to measure on texts of another domain what training has cost."""

from dataclasses import dataclass
from importlib.resources import files

from layersel.data.texts.examples import Example, TextDataset
from layersel.data.texts.rows import documents
from layersel.data.texts.source import TextSource


@dataclass
class PythonReference(TextSource):
    """60 passages of prose from the language reference of Python 3.11.7 (PSF-2.0), frozen; see their ATTRIBUTION.md.

    Example:
        >>> print(*PythonReference().load().lines(), sep="; ")
        60 examples; passages of 60 to 134 words from the Python language reference
    """

    @property
    def name(self) -> str:
        """The name that reports use for the dataset."""
        return "python"

    def problems(self) -> list[str]:
        """Returns nothing: there are no options."""
        return []

    def load(self) -> TextDataset:
        """Returns an example for each passage."""
        text = (files("layersel.data.texts.reference_passages") / "python.txt").read_text(encoding="ascii")
        passages = documents(text)
        lengths = [len(passage.split()) for passage in passages]
        note = f"passages of {min(lengths)} to {max(lengths)} words from the Python language reference"
        return TextDataset(self.name, tuple(Example(text=passage) for passage in passages), (note,))
