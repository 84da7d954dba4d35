"""Catalogues of published reviews: where their files are, what these hold, and under which licence."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches

from layersel.data.identifiers import squash
from layersel.errors import UserError, one_of


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """One file of a publisher.

    Attributes:
        name: Its path below the catalogue's folder.
        url: The publisher's address of it.
        checksum: `sha256:…` or `git-blob:…`; None where none is known, so that the counts alone are verified.
    """

    name: str
    url: str
    checksum: str | None = None


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One published review.

    Attributes:
        name: The name as the publisher spells it.
        records: All records.
        included: Records that the review includes.
        files: The files that it is read from.
        label: The column with the decisions.
    """

    name: str
    records: int
    included: int
    files: tuple[PublishedFile, ...]
    label: str = "label_included"

    def verify_counts(self, records: int, included: int, origin: str, hint: str) -> None:
        """Raises an error unless there are as many records as published, and as many of them included.

        Raises:
            UserError: A count is another; the message ends with `hint`, the next step.
        """
        if (records, included) != (self.records, self.included):
            raise UserError(
                f"{origin}: expected {self.records} records of {self.name}, {self.included} of them included, "
                f"but got {records} and {included}; {hint}"
            )


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The reviews that were published together.

    Attributes:
        folder: The name of their folder, in the user's cache and in $LAYERSEL_DATA.
        reference: Whom to cite: authors, year and doi.
        licence: The licence that the publisher states.
        entries: The reviews.
        also: Another squashed name of a review → the name that the publisher gives it.
    """

    folder: str
    reference: str
    licence: str
    entries: tuple[CatalogueEntry, ...]
    also: Mapping[str, str] = field(default_factory=dict)

    def find(self, name: str) -> CatalogueEntry:
        """Returns the entry of a name in any case and spacing.

        Raises:
            UserError: There is no such review; the message lists all, and names the nearest.
        """
        by_name = {squash(entry.name): entry for entry in self.entries}
        wanted = squash(name)
        entry = by_name.get(squash(self.also.get(wanted, wanted)))
        if entry is None:
            near = get_close_matches(wanted, [*by_name, *self.also], n=1)
            hint = f"did you mean {self.find(near[0]).name}?" if near else ""
            raise one_of("data.review", name, [known.name for known in self.entries], hint)
        return entry
