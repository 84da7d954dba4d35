"""One bibliographic record, and the review that it is screened for."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from layersel.data.reviews.report import ReadReport
from layersel.data.source import Dataset
from layersel.runs.fingerprints import fingerprint


@dataclass(frozen=True, slots=True)
class Record:
    """Title and abstract of a publication with its screening decision.

    Attributes:
        id: Unique within its review.
        title: Empty where missing.
        abstract: Empty where missing.
        label: 1 included, 0 excluded, None not labelled.
        fields: The other values that the file has for it. `authors`, `year`, `doi`, `keywords`, `journal`, `pmid`,
            `url` and `notes` go by these names, everything else by its column or tag.
    """

    id: str
    title: str
    abstract: str
    label: int | None = None
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Review(Dataset):
    """The records of one systematic review, in the order of their file.

    Attributes:
        name: The name that reports use.
        records: The records.
        report: What was read, and what is missing or doubtful.
        protocol: Its question or criteria; None where nobody gave them.

    Example:
        >>> records = (Record("1", "A", "", label=1), Record("2", "B", ""))
        >>> Review("two", records, ReadReport(records=2)).labels
        [1, None]
    """

    name: str
    records: tuple[Record, ...]
    report: ReadReport
    protocol: str | None = None

    @property
    def labels(self) -> list[int | None]:
        """The label of each record."""
        return [record.label for record in self.records]

    def fingerprint(self) -> str:
        """Returns a hash of the records' texts and labels and of the protocol, wherever they were read from."""
        known = [(record.id, record.title, record.abstract, record.label) for record in self.records]
        return fingerprint(known if self.protocol is None else [known, self.protocol])

    def lines(self) -> list[str]:
        """Returns what was read, in lines for the terminal."""
        return self.report.lines()
