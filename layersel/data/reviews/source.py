"""What all sources of records share: their options, and the way from a file to a review."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from layersel.data.reviews.assemble import DUPLICATES, assemble_review
from layersel.data.reviews.columns import LABEL_LEVELS
from layersel.data.reviews.readers import RawRecords
from layersel.data.reviews.records import Review
from layersel.errors import UserError, one_of
from layersel.tasks.screening.split import IF_TOO_FEW


@dataclass
class Source(ABC):
    """A review to screen. Its fields are the options of the config group `data`."""

    shots: int = 8
    """Labelled records of each class to learn from; the rest of the labelled records is the test set."""

    if_too_few: str = "error"
    """When a class has no record left beyond its shots: `error`, or `reduce` the shots of both classes."""

    label_level: str = "full_text"
    """Which screening decision is the label: `full_text` (the final one) or `abstract`."""

    duplicates: str = "keep"
    """`keep`, or `drop` all but a publication's first record (never of those labelled both ways)."""

    def load(self) -> Review:
        """Read the review.

        Raises:
            UserError: An option is wrong, or the file is missing, damaged or without titles.
        """
        issues = self.problems()
        if issues:
            raise UserError("; ".join(issues))
        return assemble_review(self.name, self.read(), self.columns(), self.label_level, self.duplicates)

    def problems(self) -> list[str]:
        """Everything wrong with the options that can be told without reading the file, one line each."""
        choices = {"if_too_few": IF_TOO_FEW, "label_level": LABEL_LEVELS, "duplicates": DUPLICATES}
        issues = [
            str(one_of(f"data.{option}", getattr(self, option), allowed))
            for option, allowed in choices.items()
            if getattr(self, option) not in allowed
        ]
        if self.shots < 1:
            issues.append(f"data.shots: expected 1 or more, but got {self.shots}; the default is 8")
        return issues

    named_by: ClassVar[str | None] = None
    """The option that names one of several reviews."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What reports call the review."""

    @abstractmethod
    def read(self) -> RawRecords:
        """The records as they are written in the file."""

    def columns(self) -> Mapping[str, str | None]:
        """Role (title, abstract, id, label) → column; None or absent: recognised by name."""
        return {}
