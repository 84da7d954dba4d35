"""Archives of cells: all that tables are made of in one file, which is read where the folders of runs are gone."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import reduce
from pathlib import Path
from typing import Any

from layersel.errors import DamagedError, UserError
from layersel.files import read_sealed, write_sealed
from layersel.sweep.grid import OF_A_CALL
from layersel.sweep.reading import Row, is_grid, read_overrides
from layersel.tasks.task import Metric

ENDING = ".json"
"""How an archive's name ends."""
FOLDER = re.compile(r"(?<=[=,\[])/[^,\]\s]*/")
"""The folders of an absolute path in an option."""


def write_archive(file: Path, rows: Sequence[Row], paths: Sequence[str | Path]) -> None:
    """Writes rows without their curves, and the commands of the grids that they are of, atomically.

    A file that a command names stands there without its folder.

    Args:
        file: The archive.
        rows: The rows.
        paths: What they were collected from: grids and archives, whose commands are kept, and other folders.
    """
    common = reduce(lambda one, two: dict(one.items() & two.items()), (row.options for row in rows))
    known = [
        asdict(replace(row, overrides=_portable(row.overrides), curves={}, options=_without(row.options, common)))
        for row in rows
    ]
    whole = [{name: value for name, value in own.items() if value not in (None, {})} for own in known]
    commands = [command for path in paths if is_archived(Path(path)) for command in commands_of(Path(path))]
    write_sealed(file, {"commands": list(dict.fromkeys(commands)), "options": common, "cells": whole})


def read_archive(file: Path) -> list[Row]:
    """Returns the rows of an archive.

    Raises:
        UserError: It is damaged, or no archive.
    """
    content = _read(file)
    return [_row(own, content["options"]) for own in content["cells"]]


def is_archived(place: Path) -> bool:
    """Returns whether a path is that of a grid or an archive, which know their commands."""
    return is_grid(place) or (place.is_file() and place.suffix == ENDING)


def commands_of(place: Path) -> list[str]:
    """Returns the command of a grid, or those of an archive's grids, without what says where files go.

    Raises:
        UserError: The grid's own file or the archive is damaged.
    """
    if place.is_file():
        return list(_read(place)["commands"])
    overrides = [text for text in read_overrides(place) if not text.lstrip("+~").startswith(OF_A_CALL)]
    return [f"python train.py -m {_portable(shlex.join(overrides))}"]


def _read(file: Path) -> dict[str, Any]:
    try:
        content = read_sealed(file)
    except DamagedError as error:
        raise UserError(f"folder: expected an archive in {str(file)!r}, but {error.brief}") from error
    if not {"commands", "options", "cells"} <= content.keys():
        raise UserError(f"folder: expected an archive of cells, but {str(file)!r} is another file")
    return content


def _row(own: dict[str, Any], options: dict[str, Any]) -> Row:
    metric = own.get("metric")
    own = own | {"options": options | own.get("options", {}), "metric": None if metric is None else Metric(**metric)}
    return Row(**({"cell": None} | own))


def _without(options: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in common}


def _portable(overrides: str | None) -> str | None:
    return None if overrides is None else FOLDER.sub("FOLDER/", overrides)
