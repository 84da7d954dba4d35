"""The store of results that cells share, under a hash of all that decides them; one process computes each."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from layersel.errors import UserError, error_line
from layersel.files import CHECKSUM, atomic_path
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
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a dict
            checksum = (file.metadata() or {}).get(CHECKSUM)
    except FileNotFoundError:
        return None
    except (SafetensorError, OSError, ValueError) as error:
        damage = error_line(error)
    else:
        if checksum == _checksum(tensors):
            return tensors
        damage = "its checksum is another"
    tables.note(f"shared: {path} is damaged ({damage}); computing it again")
    return None


def _written(path: Path, tensors: Tensors) -> Tensors:
    """Writes the tensors with their checksum; without room for them this cell has them all the same."""
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    try:
        with atomic_path(path) as draft:
            save_file(tensors, draft, metadata={CHECKSUM: _checksum(tensors)})
    except (SafetensorError, OSError, UserError) as error:
        tables.note(f"shared: {path} cannot be kept ({error_line(error)})")
    return tensors


def _checksum(tensors: Tensors) -> str:
    """Returns a hash of the names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
