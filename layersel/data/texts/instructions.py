"""The user's own instructions, in a file of any form that can be read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from omegaconf import MISSING

from layersel.data.file_options import encoding_problems, path_problems
from layersel.data.packing import bare_name
from layersel.data.texts.assemble import Part
from layersel.data.texts.column_options import AnswerColumnOptions
from layersel.data.texts.columns import columns_wanted
from layersel.data.texts.examples import TEST, TRAIN, VALIDATION, TextDataset
from layersel.data.texts.rows import EXTENSIONS, read_rows
from layersel.data.texts.source import AnswerSource


@dataclass
class Instructions(AnswerColumnOptions, AnswerSource):
    """Prompts with responses, or conversations; columns are recognised by their usual names unless they are named."""

    named_by: ClassVar[str | None] = "path"

    path: str = MISSING
    """File with the rows: .jsonl, .json, .csv, .tsv, .parquet or .xlsx, or .txt with a text for each block of lines; or
    one of these in a .gz or .zip. It is the training set if there are other files."""

    validation_path: str | None = None
    """File with the rows to watch the training by; null: the task draws them, or a column names them."""

    test_path: str | None = None
    """File with the rows to measure on; null: the task draws them, or a column names them."""

    encoding: str | None = None
    """Encoding of text files, such as cp1252; null: recognised, and told where it is a guess."""

    @property
    def name(self) -> str:
        """The file's name without extension."""
        return bare_name(Path(self.path), EXTENSIONS)

    def problems(self) -> list[str]:
        """Returns everything wrong with the options that shows without reading the files, one line each."""
        given = {"path": self.path, "validation_path": self.validation_path, "test_path": self.test_path}
        found = [
            line
            for option, path in given.items()
            if path is not None
            for line in path_problems(option, path, "texts", EXTENSIONS)
        ]
        if self.split_column is not None and len(self._paths()) > 1:
            found.append("data.split_column contradicts data.validation_path and data.test_path; leave one out")
        return found + encoding_problems(self.encoding) + self.column_problems()

    def files(self) -> list[Path]:
        """Returns the files with the rows."""
        return [Path(path).expanduser() for path in self._paths().values()]

    def load(self) -> TextDataset:
        """Reads the files.

        Raises:
            UserError: An option is wrong, or a file is missing, damaged or without rows of this kind.
        """
        self.check()
        wanted = columns_wanted(self.columns())
        several = len(self._paths()) > 1
        parts = [
            Part(str(path), read_rows(path, wanted, self.encoding), split if several else None)
            for split, path in zip(self._paths(), self.files(), strict=True)
        ]
        return self.dataset(self.name, parts)

    def _paths(self) -> Mapping[str, str]:
        """Returns split → path of the files that are given."""
        given = {TRAIN: self.path, VALIDATION: self.validation_path, TEST: self.test_path}
        return {split: path for split, path in given.items() if path is not None}
