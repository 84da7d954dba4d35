"""The report on what was read: nothing that is missing, doubled or dropped is hidden."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ReadReport:
    """Counts over one review as it was read.

    Attributes:
        format: The form of the file, as `RawRecords` names it.
        encoding: The file's encoding.
        columns: The column that each of title, abstract, id and label was read from.
        records: Records of the review; `included`, `excluded` and `unlabelled` add up to it.
        missing_titles: Records without a title.
        missing_abstracts: Records without an abstract.
        missing_ids: Records that had no id and are known by their row number.
        repeated_ids: Records whose id an earlier one had, now followed by `_2`, `_3`, ….
        duplicate_groups: Sets of records that are one publication.
        duplicate_records: Records of these sets beyond the first of each.
        conflicting: Ids of each such set whose records were labelled differently; they are never dropped.
        dropped: Duplicate records that were left out.
        no_labels: Why no record has a label, and what to do; empty if one may have.
        notes: What was guessed, chosen or changed, a line each.
    """

    format: str = ""
    encoding: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    records: int = 0
    included: int = 0
    excluded: int = 0
    unlabelled: int = 0
    missing_titles: int = 0
    missing_abstracts: int = 0
    missing_ids: int = 0
    repeated_ids: int = 0
    duplicate_groups: int = 0
    duplicate_records: int = 0
    conflicting: tuple[tuple[str, ...], ...] = ()
    dropped: int = 0
    no_labels: str = ""
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Returns the counts, for JSON."""
        return asdict(self)

    def lines(self, with_labels: bool = True) -> list[str]:
        r"""Returns the counts in lines, for the terminal, those of the labels only where these are used.

        Example:
            >>> report = ReadReport("csv", "utf-8", {"title": "TI"}, records=3, included=1, unlabelled=2)
            >>> print(*report.lines(), sep="\n")
            3 records: 1 included, 0 excluded, 2 unlabelled
            read as csv, utf-8; title from 'TI'
            missing: 0 titles, 0 abstracts
        """
        origin = [f"{role} from {column!r}" for role, column in self.columns.items()]
        counts = f"{self.included} included, {self.excluded} excluded, {self.unlabelled} unlabelled"
        return [
            f"{self.records} records: {counts}" if with_labels else f"{self.records} records",
            "; ".join([", ".join(filter(None, [f"read as {self.format}", self.encoding])), ", ".join(origin)]),
            f"missing: {self.missing_titles} titles, {self.missing_abstracts} abstracts",
            *self._identity_lines(),
            *self.notes,
        ]

    def _identity_lines(self) -> list[str]:
        found = []
        if self.missing_ids or self.repeated_ids:
            found.append(f"ids: {self.missing_ids} missing (row number used), {self.repeated_ids} repeated (numbered)")
        if self.duplicate_groups:
            found.append(
                f"duplicates: {self.duplicate_records} records repeat one of {self.duplicate_groups} "
                f"publications, {self.dropped} dropped"
            )
        if self.conflicting:
            found.append("labelled both ways: " + "; ".join(" = ".join(ids) for ids in self.conflicting))
        return found
