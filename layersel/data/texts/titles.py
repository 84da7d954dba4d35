"""Instructions made of records: write the title of an abstract."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from layersel.data.reviews.demo import Demo
from layersel.data.reviews.source import ReviewSource
from layersel.data.reviews.table import Table
from layersel.data.texts.examples import Example, TextDataset
from layersel.data.texts.source import AnswerSource
from layersel.errors import UserError

INSTRUCTION = "Write the title of the article with this abstract.\n\n"


@dataclass
class Titles(AnswerSource):
    """The title of each record is to be written from its abstract; repeated records are left out.

    The embedded records are part of van de Schoot et al. 2017 (CC BY 4.0, doi 10.17605/OSF.IO/VK4BE).

    Example:
        >>> Titles().load().examples[0].response
        'The Roles of Love, Attachment, and Altruism in the Adjustment to Military Trauma'
    """

    path: str | None = None
    """A file of records (.csv, .xlsx, .ris, .nbib, .bib, EndNote .xml, …); null = the embedded ones."""

    named_by: ClassVar[str | None] = "path"

    @property
    def name(self) -> str:
        """The name that reports use for the dataset."""
        return "titles" if self.path is None else f"titles of {self._records().name}"

    def problems(self) -> list[str]:
        """Returns what is wrong with the file, as far as shows without reading it."""
        return self._records().problems()

    def files(self) -> list[Path]:
        """Returns the file of records."""
        return self._records().files()

    def load(self) -> TextDataset:
        """Returns an example for each record with a title and an abstract.

        Raises:
            UserError: The file cannot be read, or no record has both.
        """
        review = self._records().load()
        whole = [own for own in review.records if own.title and own.abstract]
        if not whole:
            raise UserError(f"{self.path}: expected records with a title and an abstract, but none has both")
        left_out = len(review.records) - len(whole)
        notes = review.report.lines(with_labels=False)
        if left_out:
            notes.append(f"{left_out} records without a title or an abstract are left out")
        examples = tuple(Example(prompt=INSTRUCTION + own.abstract, response=own.title) for own in whole)
        return TextDataset(self.name, examples, tuple(notes))

    def _records(self) -> ReviewSource:
        if self.path is None:
            return Demo(duplicates="drop")
        return Table(path=self.path, label_level="none", duplicates="drop")
