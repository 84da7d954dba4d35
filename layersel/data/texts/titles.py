"""The embedded instructions: write the title of an abstract, for each of the 300 records of the embedded review."""

from dataclasses import dataclass

from layersel.data.reviews.demo import Demo
from layersel.data.texts.examples import Example, TextDataset
from layersel.data.texts.source import TextSource

INSTRUCTION = "Write the title of the article with this abstract.\n\n"


@dataclass
class Titles(TextSource):
    """Part of van de Schoot et al. 2017 (CC BY 4.0, doi 10.17605/OSF.IO/VK4BE); repeated records are left out.

    Example:
        >>> Titles().load().examples[0].response
        'The Roles of Love, Attachment, and Altruism in the Adjustment to Military Trauma'
    """

    @property
    def name(self) -> str:
        """The name that reports use for the dataset."""
        return "titles"

    def problems(self) -> list[str]:
        """Returns nothing: there are no options."""
        return []

    def load(self) -> TextDataset:
        """Returns an example for each record with a title and an abstract."""
        records = Demo(duplicates="drop").load().records
        whole = [own for own in records if own.title and own.abstract]
        examples = tuple(Example(prompt=INSTRUCTION + own.abstract, response=own.title) for own in whole)
        return TextDataset(
            self.name, examples, (f"{len(records) - len(whole)} records without a title or an abstract are left out",)
        )
