"""The drug class reviews of Cohen et al. 2006, from $LAYERSEL_DATA or their publisher."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from omegaconf import MISSING
from platformdirs import user_cache_path

from layersel.data.download import download, is_intact, verify
from layersel.data.reviews.catalogue import CatalogueEntry, find_review
from layersel.data.reviews.readers import RawRecords, read_records
from layersel.data.reviews.source import ReviewSource
from layersel.errors import UserError


@dataclass
class Cohen(ReviewSource):
    """One of the 15 reviews; read from $LAYERSEL_DATA where it is there, else downloaded once."""

    named_by: ClassVar[str | None] = "review"

    review: str = MISSING
    """Name of the review, such as ADHD, Statins or ACEInhibitors; a wrong one lists all."""

    @property
    def name(self) -> str:
        """The publisher's name of the review."""
        return find_review(self.review).name

    def problems(self) -> list[str]:
        """Returns everything wrong with the options that shows without reading the file, one line each."""
        return super().problems() + self._review_problems() + _folder_problems()

    def read(self) -> RawRecords:
        """Returns the records as they are written in the file, whose checksum is verified."""
        return read_records(locate(find_review(self.review)))

    def _review_problems(self) -> list[str]:
        try:
            find_review("" if self.review == MISSING else self.review)
        except UserError as error:
            return [str(error)]
        return []


def locate(entry: CatalogueEntry) -> Path:
    """Returns the review's verified file: in $LAYERSEL_DATA, else in the user's cache, else downloaded to there.

    Raises:
        UserError: It has another checksum, or cannot be downloaded.
    """
    for path in _local_paths(entry):
        if path.is_file():
            hint = "remove it to use the publisher's, or read it as it is with data=table data.path=FILE"
            verify(path.read_bytes(), entry.checksum, str(path), hint)
            return path
    cached = user_cache_path("layersel") / "cohen_2006" / f"{entry.name}.csv"
    if not is_intact(cached, entry.checksum):
        hint = f"put {cached.name} into the folder that $LAYERSEL_DATA names, or use data=table data.path=FILE"
        download(entry.url, cached, entry.checksum, hint)
    return cached


def _local_paths(entry: CatalogueEntry) -> list[Path]:
    folder = os.environ.get("LAYERSEL_DATA", "")
    file = f"{entry.name}.csv"
    return [Path(folder) / file, Path(folder) / "cohen_2006" / file] if folder else []


def _folder_problems() -> list[str]:
    folder = os.environ.get("LAYERSEL_DATA", "")
    if folder and not Path(folder).is_dir():
        return [f"$LAYERSEL_DATA: expected a folder, but there is none at {folder!r}; correct or unset it"]
    return []
