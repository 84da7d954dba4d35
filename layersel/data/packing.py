"""Files as they are, or packed with gzip or in a zip archive."""

import gzip
import zlib
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile

from layersel.errors import UserError


def unpacked_name(path: Path) -> str:
    """Returns the name of the one file that `path` holds: its own, without `.gz`, or that of the file in a `.zip`.

    Raises:
        UserError: The archive cannot be read, or does not hold exactly one file.
    """
    if path.suffix.lower() == ".zip":
        return PurePosixPath(_only_member(path)).name
    return path.stem if path.suffix.lower() == ".gz" else path.name


def read_unpacked(path: Path) -> bytes:
    """Returns the bytes of the one file that `path` holds.

    Raises:
        UserError: The file cannot be read or is damaged, or the archive does not hold exactly one file.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".zip":
            member = _only_member(path)
            with ZipFile(path) as archive:
                return archive.read(member)
        return gzip.decompress(path.read_bytes()) if suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error, BadZipFile, NotImplementedError, RuntimeError) as error:
        raise _unreadable(path, error) from error


def _only_member(path: Path) -> str:
    try:
        with ZipFile(path) as archive:
            names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    except (OSError, BadZipFile) as error:
        raise _unreadable(path, error) from error
    # macOS puts a shadow of each file beside it
    names = [name for name in names if not name.startswith("__MACOSX/") and PurePosixPath(name).name[:1] != "."]
    if len(names) != 1:
        found = ", ".join(names[:5]) + (", …" if len(names) > 5 else "") or "none"
        raise UserError(f"{path}: expected an archive of one file, but got {len(names)} ({found}); unpack it")
    return names[0]


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: cannot be read ({error}); check that the file exists and is whole")
