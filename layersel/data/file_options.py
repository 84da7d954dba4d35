"""What is wrong with options that name a file of the user's, as far as it shows without reading it."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import MISSING

from layersel.data.packing import known_extension
from layersel.errors import UserError


def path_problems(option: str, path: str, what: str, extensions: Sequence[str]) -> list[str]:
    """Returns a line if there is no such file, or none that can be read.

    Args:
        option: The option that names it, such as `path`.
        path: Its value.
        what: What the file holds, such as `records`.
        extensions: Those of the files that can be read, packed or not.
    """
    if path == MISSING:
        return [f"data.{option}: expected a file with {what}, but got none; set data.{option}=FILE"]
    file = Path(path).expanduser()
    try:
        known_extension(file, extensions)
    except UserError as error:
        line = str(error)
        return [f"data.{option}: {line.removeprefix('path: ')}" if line.startswith("path: ") else line]
    if not file.is_file():
        return [f"data.{option}: expected a file with {what}, but there is none at {path!r}; check the path"]
    return []


def encoding_problems(encoding: str | None) -> list[str]:
    """Returns a line if the encoding is none that Python knows."""
    if encoding is None:
        return []
    try:
        b"four".decode(encoding, "replace")
    except (LookupError, ValueError):
        return [f"data.encoding: expected an encoding (utf-8, cp1252, mac_roman, …), but got {encoding!r}"]
    return []
