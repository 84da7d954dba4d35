"""Archives of cells: all that tables are made of in one file, which is read where the folders of runs are gone."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

from layersel.errors import DamagedError, UserError
from layersel.files import read_sealed, write_sealed
from layersel.sweep.grid import OF_A_CALL
from layersel.sweep.reading import Row, Scalar, read_overrides
from layersel.tasks.task import Metric

ENDING = ".json"
"""How an archive's name ends."""
CONTENT = ("commands", "options", "cells")
FOLDER = re.compile(r"(?<=[=,\[\"'])/[^,\]\"']*/")
"""The folders of an absolute path in an option."""


@dataclass(frozen=True)
class Archive:
    """What a whole archive holds.

    Attributes:
        file: The file.
        commands: The commands of the grids that its cells are of.
        options: The options that all cells share.
        cells: Each cell's row but for these options and what is empty.
    """

    file: Path
    commands: list[str]
    options: dict[str, Scalar]
    cells: list[dict[str, Any]]

    def rows(self) -> list[Row]:
        """Returns the rows.

        Raises:
            UserError: They are those of another version.
        """
        try:
            return [_row(own, self.options) for own in self.cells]
        except TypeError as error:
            raise UserError(
                f"folder: {str(self.file)!r} is an archive of another version ({error}); archive it anew"
            ) from error


def write_archive(file: Path, rows: Sequence[Row], commands: Sequence[str]) -> None:
    """Writes rows without their curves, and the commands of the grids that they are of, atomically.

    A file that an option names stands there without its folder.
    """
    common = reduce(_in_common, (row.options for row in rows))
    known = [
        asdict(
            replace(
                row,
                overrides=None if row.overrides is None else _portable(shlex.split(row.overrides)),
                options={name: value for name, value in row.options.items() if name not in common},
                curves={},
            )
        )
        for row in rows
    ]
    whole = [{name: value for name, value in own.items() if value not in (None, {})} for own in known]
    write_sealed(file, {"commands": list(commands), "options": common, "cells": whole})


def read_archive(file: Path) -> Archive:
    """Returns what a file holds.

    Raises:
        UserError: It is damaged, or no archive.
    """
    try:
        content = read_sealed(file)
    except DamagedError as error:
        raise UserError(f"folder: expected an archive in {str(file)!r}, but {error.brief}") from error
    if not content.keys() >= {*CONTENT}:
        raise UserError(f"folder: expected an archive of cells, but {str(file)!r} is another file")
    return Archive(file, **{name: content[name] for name in CONTENT})


def command_of(grid: Path) -> str:
    """Returns the command of a grid, without what says where files go.

    Raises:
        UserError: The grid's own file is damaged.
    """
    overrides = [text for text in read_overrides(grid) if not text.lstrip("+~").startswith(OF_A_CALL)]
    return f"python train.py -m {_portable(overrides)}"


def _row(own: dict[str, Any], options: dict[str, Any]) -> Row:
    metric = own.get("metric")
    own = own | {"options": options | own.get("options", {}), "metric": None if metric is None else Metric(**metric)}
    return Row(**({"cell": None} | own))


def _in_common(one: dict[str, Scalar], two: dict[str, Scalar]) -> dict[str, Scalar]:
    """Returns the options that have one value, of one type, in both, sorted by name."""
    alike = [name for name in one.keys() & two.keys() if (type(one[name]), one[name]) == (type(two[name]), two[name])]
    return {name: one[name] for name in sorted(alike)}


def _portable(overrides: Sequence[str]) -> str:
    return shlex.join(FOLDER.sub("FOLDER/", override) for override in overrides)
