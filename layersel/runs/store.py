"""The store of results that cells share, under a hash of all that decides them; one process computes each."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from layersel.errors import UserError
from layersel.files import atomic_path
from layersel.runs.code import code_of
from layersel.runs.fingerprints import fingerprint, versions
from layersel.terminal import tables

Tensors = dict[str, Tensor]


class Store:
    """Keeps tensors by what they were computed from, in a folder that any number of processes may use at once.

    Args:
        folder: The folder of the store; None keeps nothing.
    """

    def __init__(self, folder: Path | None):
        self.folder = folder

    def tensors(self, kind: str, key: Any, compute: Callable[[], Tensors], code: Sequence[Any]) -> Tensors:
        """Returns what `compute` gives for `key`, from the file `FOLDER/KIND/HASH.safetensors` if it is there.

        One process computes and the others wait for it; if it fails or is killed, the next one computes.

        Args:
            kind: The kind of the tensors, such as `tokens`.
            key: All that decides them but the versions of the libraries, which are added; anything that JSON can hold.
            compute: Is called where there is no whole file.
            code: The classes and functions that compute them; an edit of these, or of what they import, counts.

        Raises:
            UserError: The folder cannot be written to or has no file locks.
        """
        if self.folder is None:
            return compute()
        path = self.folder / kind / f"{fingerprint([key, versions(), code_of(*code)])}.safetensors"
        known = _read(path)
        if known is not None:
            return known
        lock = _lock(path)
        try:
            known = _read(path)
            return _written(path, compute()) if known is None else known
        finally:
            lock.release()


def _lock(path: Path) -> FileLock:
    """Returns the held lock of a file; the system frees that of a killed process."""
    lock = FileLock(path.with_suffix(".lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            tables.note(f"waiting for another process, which computes {path}")
            lock.acquire()
    except (OSError, NotImplementedError) as error:
        raise UserError(
            f"shared: expected a folder with file locks, but got {str(path.parent)!r} ({error}); "
            "name another with shared=…, or give shared=null"
        ) from error
    return lock


def _read(path: Path) -> Tensors | None:
    """Reads copies: a file's tensors lie at odd addresses, at which products may round in another way."""
    try:
        return {name: value.clone() for name, value in load_file(path).items()}
    except FileNotFoundError:
        return None
    except SafetensorError as error:
        tables.note(f"shared: {path} is damaged ({error}); computing it again")
        return None


def _written(path: Path, tensors: Tensors) -> Tensors:
    with atomic_path(path) as draft:
        save_file({name: value.contiguous() for name, value in tensors.items()}, draft)
    return tensors
