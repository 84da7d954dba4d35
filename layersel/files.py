"""Files that are either whole or not there: a killed run leaves nothing half-written under its final name."""

import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from layersel.errors import DamagedError, UserError

CHECKSUM = "checksum"
"""The key of a sealed file's own checksum."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary sibling of `path`, moved onto it when the block ends well and removed when it fails.

    Raises:
        UserError: A folder stands at `path`, or a file where its folder should be.
    """
    if path.is_dir():
        raise UserError(f"{str(path)!r}: expected a file or nothing there, but got a folder; remove it")
    make_folder(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
        draft.chmod(0o666 & ~_umask())
        _sync(draft)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, keep: bool = False) -> Iterator[Path]:
    """Yields a temporary folder beside `path` as `atomic_path` does; one that stands at `path` is replaced whole.

    With `keep` that one stays, for another process has made the same and may be reading it.
    """
    make_folder(path.parent)
    draft = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
    try:
        yield draft
        draft.chmod(0o777 & ~_umask())
        for file in draft.rglob("*"):
            file.chmod((0o777 if file.is_dir() else 0o666) & ~_umask())  # some libraries write for the owner only
            _sync(file)
        if keep:
            _move_unless_there(draft, path)
        elif path.exists():
            path.rename(old := draft.with_name(f"{draft.name}-old"))
            draft.replace(path)
            remove(old)
        else:
            draft.replace(path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _move_unless_there(draft: Path, path: Path) -> None:
    try:
        draft.rename(path)
    except OSError:  # a folder with files is never renamed onto
        if not path.is_dir():
            raise


def are_among(files: Iterable[Path], others: Iterable[Path]) -> bool:
    """Returns whether one of the files is one of the others, whatever each is called by."""
    resolved = {path.expanduser().resolve() for path in others}
    return any(path.expanduser().resolve() in resolved for path in files)


def make_folder(folder: Path) -> None:
    """Makes a folder, if it is not there.

    Raises:
        UserError: A file stands there, or where a folder above it should be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{str(folder)!r}: expected a folder or nothing there, but got a file; remove it") from error


def file_name(title: str) -> str:
    """Returns a title as part of a file's name on any system, 80 characters at most.

    Example:
        >>> file_name("Beta blockers (2006)/new")
        'Beta-blockers-2006-new'
    """
    return re.sub(r"[^\w.+-]+", "-", title).strip("-.")[:80]


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 `text` to `path` atomically."""
    with atomic_path(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Writes `content` to `path` atomically; NaN and infinities, which JSON lacks, become null."""
    write_text(path, json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(file: Path, remedy: str = "delete it") -> Any:
    """Returns the content of a JSON file.

    Args:
        file: The file.
        remedy: What a user can do if it is damaged.

    Raises:
        FileNotFoundError: It is not there.
        DamagedError: It cannot be read, or is no JSON.
    """
    try:
        return json.loads(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(f"{str(file)!r} is missing") from error
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedError(file, f"cannot be read ({' '.join(str(error).split())})", remedy) from error


def write_sealed(path: Path, content: dict[str, Any]) -> None:
    """Writes `content` as `write_json` does, with a checksum of its own that `read_sealed` verifies."""
    content = _finite(content)
    write_json(path, content | {CHECKSUM: _seal(content)})


def read_sealed(file: Path, remedy: str = "delete it") -> dict[str, Any]:
    """Returns the content of a file that `write_sealed` wrote.

    Raises:
        FileNotFoundError: It is not there.
        DamagedError: It is not as it was written, or a former version wrote it without a checksum.
    """
    content = read_json(file, remedy)
    if not isinstance(content, dict) or CHECKSUM not in content:
        raise DamagedError(file, "is damaged or of a former version (it has no checksum)", remedy)
    if content.pop(CHECKSUM) != _seal(content):
        raise DamagedError(file, "is damaged (its checksum is another)", remedy)
    return content


def sha256(file: Path) -> str:
    """Returns the SHA-256 of a file's content as hexadecimal digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def remove(path: Path) -> None:
    """Removes a file, a link or a folder with all that is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _seal(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _sync(path: Path) -> None:
    if path.is_file():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
