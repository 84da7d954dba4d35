"""The user's own records, in a file of any form that can be read."""

import codecs
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from omegaconf import MISSING

from layersel.data.reviews.readers import EXTENSIONS, PACKED, RawRecords, extension_of, read_records
from layersel.data.reviews.source import ReviewSource
from layersel.errors import UserError


@dataclass
class Table(ReviewSource):
    """Records of a file; its columns are recognised by their usual names unless they are named here."""

    named_by: ClassVar[str | None] = "path"

    path: str = MISSING
    """File with the records: .csv, .tsv, .xlsx, .ris, .nbib, .ciw, .enw, .ovd, .txt (any text form but BibTeX), .bib or
    .xml (EndNote); or one of these in a .gz or .zip."""

    encoding: str | None = None
    """Encoding of a text file, such as cp1252 or mac_roman; null: recognised, and told where it is a guess."""

    title_column: str | None = None
    """Column with the titles."""

    abstract_column: str | None = None
    """Column with the abstracts."""

    id_column: str | None = None
    """Column with the identifiers; records without one are known by their row number."""

    label_column: str | None = None
    """Column with the screening decisions, whatever `label_level` says."""

    @property
    def name(self) -> str:
        """The file's name without extension."""
        packed = self._file.suffix.lower() in PACKED
        name = Path(self._file.stem if packed else self._file.name)
        return name.stem if name.suffix.lower() in EXTENSIONS else str(name)

    def problems(self) -> list[str]:
        """Returns everything wrong with the options that shows without reading the file, one line each."""
        return super().problems() + self._path_problems() + self._encoding_problems()

    def read(self) -> RawRecords:
        """Returns the records as they are written in the file."""
        return read_records(self._file, self.encoding)

    def files(self) -> list[Path]:
        """Returns the file with the records."""
        return [self._file]

    def columns(self) -> Mapping[str, str | None]:
        """Returns role → column as named by the options."""
        return {
            "title": self.title_column,
            "abstract": self.abstract_column,
            "id": self.id_column,
            "label": self.label_column,
        }

    @property
    def _file(self) -> Path:
        return Path(self.path).expanduser()

    def _path_problems(self) -> list[str]:
        if self.path == MISSING:
            return ["data.path: expected a file with records, but got none; set data.path=FILE"]
        try:
            extension_of(self._file)
        except UserError as error:
            return [f"data.{error}" if str(error).startswith("path: ") else str(error)]
        if not self._file.is_file():
            return [f"data.path: expected a file with records, but there is none at {self.path!r}; check the path"]
        return []

    def _encoding_problems(self) -> list[str]:
        try:
            if self.encoding is not None:
                codecs.lookup(self.encoding)
        except LookupError:
            return [f"data.encoding: expected an encoding (utf-8, cp1252, mac_roman, …), but got {self.encoding!r}"]
        return []
