"""A dataset of the Hugging Face hub, or a folder that its package `datasets` has written or can read."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from omegaconf import MISSING

from layersel.data.texts.assemble import SPLIT_NAMES, Part
from layersel.data.texts.column_options import TextColumnOptions
from layersel.data.texts.examples import SPLITS, TEST, TRAIN, VALIDATION, TextDataset
from layersel.data.texts.hub_rows import load_splits, package_problems, rows_of
from layersel.data.texts.rows import listed
from layersel.data.texts.source import AnswerSource, LabelledSource
from layersel.errors import UserError

_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass
class Hub(TextColumnOptions, LabelledSource, AnswerSource):
    """A dataset by the package `datasets` (`pip install 'layersel[hub]'`); no code of a dataset is ever run."""

    named_by: ClassVar[str | None] = "path"

    path: str = MISSING
    """Name of a dataset on the Hugging Face hub, such as stanfordnlp/imdb, or a folder: written by save_to_disk, or of
    files that the package datasets reads."""

    config: str | None = None
    """Name of one of the dataset's configurations."""

    revision: str | None = None
    """Branch, tag or commit on the hub."""

    train_split: str | None = None
    """Split to learn from; null: train, or the only one."""

    validation_split: str | None = None
    """Split to watch the training by; null: validation, valid, val or dev, if it is there."""

    test_split: str | None = None
    """Split to measure on; null: test, if it is there."""

    @property
    def name(self) -> str:
        """The last part of the path, and the configuration if one is named."""
        last = Path(self.path).name
        return last if self.config is None else f"{last}_{self.config}"

    def problems(self) -> list[str]:
        """Returns everything wrong with the options that shows without reading the data, one line each."""
        return self._path_problems() + self.column_problems() + package_problems()

    def files(self) -> list[Path]:
        """Returns the files of the folder, if it is one."""
        return sorted(path for path in self._folder.rglob("*") if path.is_file()) if self._folder.is_dir() else []

    def load(self) -> TextDataset:
        """Reads the dataset, from the hub once.

        Raises:
            UserError: An option is wrong, or the dataset cannot be read.
        """
        self.check()
        splits, notes = load_splits(self.path, self.config, self.revision)
        chosen = self._splits(list(splits))
        parts = [
            Part(f"{self.path}, {split}" if split else self.path, rows_of(splits[split]), role)
            for split, role in chosen.items()
        ]
        others = [split for split in splits if split not in chosen]
        dataset = self.dataset(self.name, parts)
        unread = (f"splits that are not read: {listed(others)}",) if others else ()
        return replace(dataset, notes=(*dataset.notes, *unread, *notes))

    @property
    def _folder(self) -> Path:
        return Path(self.path).expanduser()

    def _path_problems(self) -> list[str]:
        if self.path == MISSING:
            return ["data.path: expected the name of a dataset or a folder, but got none; set data.path=NAME"]
        if self._folder.is_file():
            return [f"data.path: expected a folder, but got the file {self.path!r}; use data=text data.path=FILE"]
        if not self._folder.is_dir() and _HUB_NAME.fullmatch(self.path) is None:
            return [f"data.path: expected a folder or NAME/DATASET, but there is none at {self.path!r}; check the path"]
        return []

    def _splits(self, names: Sequence[str]) -> dict[str, str | None]:
        """Returns split → what it is for; nothing says so where there is but one."""
        options = {TRAIN: self.train_split, VALIDATION: self.validation_split, TEST: self.test_split}
        chosen: dict[str, str | None] = {}
        for role in SPLITS:
            named = options[role]
            if named is not None and named not in names:
                raise UserError(f"data.{role}_split: expected one of {listed(names)}, but got {named!r}")
            usual = [name for name in names if SPLIT_NAMES.get(name.lower()) == role]
            if named is None and len(usual) > 1:
                raise UserError(
                    f"data.{role}_split: expected one split, but {' and '.join(map(repr, usual))} may be it; name one"
                )
            chosen |= dict.fromkeys([named] if named is not None else usual, role)
        if not chosen and len(names) == 1:
            return {names[0]: None}
        if TRAIN not in chosen.values():
            raise UserError(f"data.train_split: expected one of {listed(names)}, but got none; name it")
        return chosen if len(chosen) > 1 else dict.fromkeys(chosen)
