"""The base class of all sources of records: their options, and the way from a file to a review."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from layersel.data.file_options import path_problems
from layersel.data.reviews.assemble import DUPLICATES, assemble_review
from layersel.data.reviews.columns import LABEL_LEVELS
from layersel.data.reviews.labels import MAYBE
from layersel.data.reviews.protocol import EXTENSIONS, read_protocol
from layersel.data.reviews.readers import RawRecords
from layersel.data.reviews.records import Review
from layersel.data.source import Source
from layersel.errors import one_of


@dataclass
class ReviewSource(Source):
    """A review to screen."""

    of_a_head: ClassVar[tuple[str, ...]] = ("protocol",)

    label_level: str = "full_text"
    """Which screening decision is the label: `full_text` (the final one) or `abstract`."""

    maybe: str = "unlabelled"
    """What a decision for "maybe" counts as: `unlabelled`, `included` or `excluded`."""

    duplicates: str = "keep"
    """`keep`, or `drop` all but a publication's first record (never of those labelled both ways)."""

    protocol: str | None = None
    """Text file with the review's question or criteria, for heads that look at it, such as with_protocol."""

    def load(self) -> Review:
        """Reads the review.

        Raises:
            UserError: An option is wrong, or a file is missing, damaged or without titles.
        """
        self.check()
        protocol, notes = (None, ()) if self.protocol is None else read_protocol(Path(self.protocol).expanduser())
        review = assemble_review(self.name, self.read(), self.columns(), self.label_level, self.duplicates, self.maybe)
        report = replace(review.report, notes=(*review.report.notes, *notes))
        return replace(review, protocol=protocol, report=report)

    def problems(self) -> list[str]:
        """Returns everything wrong with the options that shows without reading the file, one line each."""
        choices = {"label_level": LABEL_LEVELS, "maybe": MAYBE, "duplicates": DUPLICATES}
        found = [
            str(one_of(f"data.{option}", getattr(self, option), allowed))
            for option, allowed in choices.items()
            if getattr(self, option) not in allowed
        ]
        if self.protocol is not None:
            found += path_problems("protocol", self.protocol, "the review's question or criteria", EXTENSIONS)
        return found

    def files(self) -> list[Path]:
        """Returns the file of the protocol, if there is one."""
        return [] if self.protocol is None else [Path(self.protocol)]

    @abstractmethod
    def read(self) -> RawRecords:
        """Returns the records as they are written in the file."""

    def columns(self) -> Mapping[str, str | None]:
        """Returns role (title, abstract, id, label) → column; None or absent: recognised by name."""
        return {}
