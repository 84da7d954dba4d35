"""The user's own records, in a file of any form that can be read."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from omegaconf import MISSING

from layersel.data.file_options import encoding_problems, path_problems
from layersel.data.packing import bare_name
from layersel.data.reviews.readers import EXTENSIONS, RawRecords, read_records
from layersel.data.reviews.source import ReviewSource
from layersel.data.source import Source


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

    @classmethod
    def at(cls, path: str, like: Source | None) -> "Table":
        """Returns the source that reads `path` as `like` says, if that is a table, but without a protocol."""
        return replace(like if isinstance(like, Table) else cls(), path=path, protocol=None)

    @property
    def name(self) -> str:
        """The file's name without extension."""
        return bare_name(self._file, EXTENSIONS)

    def problems(self) -> list[str]:
        """Returns everything wrong with the options that shows without reading the file, one line each."""
        found = path_problems("path", self.path, "records", EXTENSIONS)
        return super().problems() + found + encoding_problems(self.encoding)

    def read(self) -> RawRecords:
        """Returns the records as they are written in the file."""
        return read_records(self._file, self.encoding)

    def files(self) -> list[Path]:
        """Returns the file with the records, and that of the protocol."""
        return [self._file, *super().files()]

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
