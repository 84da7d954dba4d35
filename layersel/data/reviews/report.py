"""What was read, said plainly: nothing that is missing, doubled or cut is hidden."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class ReadReport:
    """Counts over one review as it was read.

    Attributes:
        format: `csv` (any delimiter), `ris` or `medline`.
        encoding: Of the file.
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

    def as_dict(self) -> dict[str, Any]:
        """The counts, for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        r"""The counts, for people.

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
            f"{self.records} records: {counts}",
            "; ".join([f"read as {self.format}, {self.encoding}", ", ".join(origin)]),
            f"missing: {self.missing_titles} titles, {self.missing_abstracts} abstracts",
            *self._identity_lines(),
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


def token_lengths(lengths: Sequence[int], limit: int) -> dict[str, float]:
    """Median, 95 % quantile and maximum of text lengths in tokens, and how many exceed `limit`.

    The first three are NaN when there is no text.

    Example:
        >>> token_lengths([10, 20, 600], limit=512)
        {'median': 20.0, 'quantile_95': 542.0, 'max': 600.0, 'truncated': 1}
    """
    if len(lengths) == 0:
        return {"median": float("nan"), "quantile_95": float("nan"), "max": float("nan"), "truncated": 0}
    median, quantile_95, longest = (float(value) for value in np.quantile(lengths, [0.5, 0.95, 1.0]))
    truncated = sum(length > limit for length in lengths)
    return {"median": median, "quantile_95": quantile_95, "max": longest, "truncated": truncated}
