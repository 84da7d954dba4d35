"""The base class of published reviews, which are read from $LAYERSEL_DATA or from their publisher."""

import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from omegaconf import MISSING
from platformdirs import user_cache_path

from layersel.data.download import download, is_intact, verify
from layersel.data.reviews.catalogue import Catalogue, CatalogueEntry, PublishedFile
from layersel.data.reviews.labels import parse_label
from layersel.data.reviews.readers import RawRecords
from layersel.data.reviews.source import ReviewSource
from layersel.errors import UserError

REMOVE = "remove it to use the publisher's, or read your own records with data=table data.path=FILE"


@dataclass
class PublishedReview(ReviewSource):
    """One review of a catalogue; read from $LAYERSEL_DATA where it is there, else downloaded once."""

    named_by: ClassVar[str | None] = "review"
    catalogue: ClassVar[Catalogue]

    review: str = MISSING
    """Name of the review; a wrong one lists all."""

    @property
    def entry(self) -> CatalogueEntry:
        """What the catalogue says of the review."""
        return self.catalogue.find("" if self.review == MISSING else self.review)

    @property
    def name(self) -> str:
        """The publisher's name of the review."""
        return self.entry.name

    def problems(self) -> list[str]:
        """Returns everything wrong with the options that shows without reading the files, one line each."""
        found = super().problems() + _folder_problems()
        try:
            return found + self.review_problems(self.entry)
        except UserError as error:
            return [*found, str(error)]

    def review_problems(self, entry: CatalogueEntry) -> list[str]:
        """Returns what keeps this review from being read, one line each."""
        return []

    def columns(self) -> Mapping[str, str | None]:
        """Returns the column of the decisions; the others are recognised by name."""
        return {"label": self.entry.label if self.label_level == "full_text" else None}

    def read(self) -> RawRecords:
        """Returns the records as they are written in the files, whose checksums or counts are verified.

        Raises:
            UserError: A file is not the published one, or cannot be downloaded.
        """
        entry = self.entry
        paths = [self._locate(file) for file in entry.files]
        raw = self.parse(entry, paths)
        self.verify_rows(raw.rows, str(paths[0]), REMOVE)
        source = f"published by {self.catalogue.reference}; licence: {self.catalogue.licence}"
        return replace(raw, notes=(source, *raw.notes))

    @abstractmethod
    def parse(self, entry: CatalogueEntry, paths: Sequence[Path]) -> RawRecords:
        """Returns the records of the entry's files, which lie at `paths`."""

    def verify_rows(self, rows: Sequence[Mapping[str, str]], origin: str, hint: str) -> None:
        """Raises an error unless the rows are as many as published, and as many of them included.

        Raises:
            UserError: A count is another, or a decision is none.
        """
        entry = self.entry
        labels = [parse_label(row[entry.label], f"{origin}, row {n}") for n, row in enumerate(rows, start=1)]
        entry.verify_counts(len(rows), labels.count(1), origin, hint)

    def verify_download(self, file: PublishedFile, hint: str, content: bytes) -> None:
        """Raises an error unless the content is that of the published file.

        Raises:
            UserError: It is not; the message ends with `hint`.
        """
        if file.checksum is not None:
            verify(content, file.checksum, file.url, hint)

    def _locate(self, file: PublishedFile) -> Path:
        """Returns the file's place: in $LAYERSEL_DATA, else in the user's cache, else downloaded to there."""
        found = local_file(self.catalogue.folder, file.name)
        if found is not None:
            if file.checksum is not None:
                verify(found.read_bytes(), file.checksum, str(found), REMOVE)
            return found
        cached = user_cache_path("layersel") / self.catalogue.folder / file.name
        if not (cached.is_file() if file.checksum is None else is_intact(cached, file.checksum)):
            hint = f"put {file.name} into the folder that $LAYERSEL_DATA names, or use data=table data.path=FILE"
            download(file.url, cached, partial(self.verify_download, file, hint), hint)
        return cached


def local_file(folder: str, name: str) -> Path | None:
    """Returns the file of this name in $LAYERSEL_DATA, or in the folder of a catalogue there; None if there is none."""
    data = os.environ.get("LAYERSEL_DATA", "")
    places = [Path(data) / name, Path(data) / folder / name] if data else []
    return next((path for path in places if path.is_file()), None)


def _folder_problems() -> list[str]:
    folder = os.environ.get("LAYERSEL_DATA", "")
    if folder and not Path(folder).is_dir():
        return [f"$LAYERSEL_DATA: expected a folder, but there is none at {folder!r}; correct or unset it"]
    return []
