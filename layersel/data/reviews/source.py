"""The base class of all sources of records: their options, and the way from a file to a review."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from layersel.data.reviews.assemble import DUPLICATES, assemble_review
from layersel.data.reviews.columns import LABEL_LEVELS
from layersel.data.reviews.labels import MAYBE
from layersel.data.reviews.readers import RawRecords
from layersel.data.reviews.records import Review
from layersel.data.source import Source
from layersel.errors import one_of


@dataclass
class ReviewSource(Source):
    """A review to screen."""

    label_level: str = "full_text"
    """Which screening decision is the label: `full_text` (the final one) or `abstract`."""

    maybe: str = "unlabelled"
    """What a decision for "maybe" counts as: `unlabelled`, `included` or `excluded`."""

    duplicates: str = "keep"
    """`keep`, or `drop` all but a publication's first record (never of those labelled both ways)."""

    def load(self) -> Review:
        """Reads the review.

        Raises:
            UserError: An option is wrong, or the file is missing, damaged or without titles.
        """
        self.check()
        return assemble_review(self.name, self.read(), self.columns(), self.label_level, self.duplicates, self.maybe)

    def problems(self) -> list[str]:
        """Returns everything wrong with the options that shows without reading the file, one line each."""
        choices = {"label_level": LABEL_LEVELS, "maybe": MAYBE, "duplicates": DUPLICATES}
        return [
            str(one_of(f"data.{option}", getattr(self, option), allowed))
            for option, allowed in choices.items()
            if getattr(self, option) not in allowed
        ]

    @abstractmethod
    def read(self) -> RawRecords:
        """Returns the records as they are written in the file."""

    def columns(self) -> Mapping[str, str | None]:
        """Returns role (title, abstract, id, label) → column; None or absent: recognised by name."""
        return {}
