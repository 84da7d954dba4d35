"""Files as they are, or packed with gzip or in a zip archive."""

import gzip
import lzma
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile

from layersel.errors import UserError, one_of

PACKED = (".gz", ".zip")


def known_extension(path: Path, extensions: Sequence[str]) -> str:
    """Returns the extension, in lower case, of the file that `path` is or holds.

    Raises:
        UserError: It is none of `extensions`, or the archive does not hold one file.

    Example:
        >>> known_extension(Path("records.v2.CSV.gz"), [".csv"])
        '.csv'
    """
    name = unpacked_name(path)
    extension = Path(name).suffix.lower()
    if extension not in extensions:
        raise one_of(
            "path", name, [*extensions, *(f"one of them in {packed}" for packed in PACKED)], hint="export it as one"
        )
    return extension


def bare_name(path: Path, extensions: Sequence[str]) -> str:
    """Returns the name of a file without its extension, if that is one of `extensions`, packed or not.

    Example:
        >>> bare_name(Path("records.v2.csv.gz"), [".csv"])
        'records.v2'
    """
    name = Path(path.stem if path.suffix.lower() in PACKED else path.name)
    return name.stem if name.suffix.lower() in extensions else str(name)


def unpacked_name(path: Path) -> str:
    """Returns the name of the one file that `path` holds: its own, without `.gz`, or that of the file in a `.zip`.

    Raises:
        UserError: The archive cannot be read, or does not hold exactly one file.
    """
    if path.suffix.lower() == ".zip":
        with _reading(path), ZipFile(path) as archive:
            return PurePosixPath(_only_member(archive, path)).name
    return path.stem if path.suffix.lower() == ".gz" else path.name


def read_unpacked(path: Path) -> bytes:
    """Returns the bytes of the one file that `path` holds.

    Raises:
        UserError: The file cannot be read or is damaged, or the archive does not hold exactly one file.
    """
    suffix = path.suffix.lower()
    with _reading(path):
        if suffix == ".zip":
            with ZipFile(path) as archive:
                return archive.read(_only_member(archive, path))
        return gzip.decompress(path.read_bytes()) if suffix == ".gz" else path.read_bytes()


def _only_member(archive: ZipFile, path: Path) -> str:
    names = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    # macOS puts a shadow of each file beside it
    names = [name for name in names if not name.startswith("__MACOSX/") and PurePosixPath(name).name[:1] != "."]
    if len(names) != 1:
        found = ", ".join(names[:5]) + (", …" if len(names) > 5 else "") or "none"
        raise UserError(f"{path}: expected an archive of one file, but got {len(names)} ({found}); unpack it")
    return names[0]


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error, lzma.LZMAError, BadZipFile, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); check that the file exists and is whole") from error
