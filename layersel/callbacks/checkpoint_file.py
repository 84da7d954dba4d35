"""The file of a checkpoint: written whole or not at all, verified when it is read, and read without unpickling code."""

import io
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning.fabric.utilities.types import _PATH
from lightning.pytorch.plugins import TorchCheckpointIO

from layersel.errors import UserError
from layersel.files import atomic_path


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside the former one and then puts it in its place.

    Lightning itself would write a draft in the temporary folder, and copy it if that is another file system.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any | None = None) -> None:
        """Writes `checkpoint` to `path`; a process that is killed meanwhile leaves what was there.

        PyTorch writes to memory: interrupted while it writes to a file, it forgets that, raises an error or aborts.
        """
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with atomic_path(Path(path)) as draft:
            draft.write_bytes(content.getbuffer())

    def load_checkpoint(self, path: _PATH, *args: Any, **options: Any) -> dict[str, Any]:
        """Returns the checkpoint as `read_checkpoint` does."""
        return read_checkpoint(Path(path))


def read_checkpoint(file: Path) -> dict[str, Any]:
    """Reads a checkpoint to the CPU. It is a ZIP file with the CRC-32 of each part, which PyTorch does not look at.

    Raises:
        UserError: The file is missing, not a checkpoint, or damaged.
    """
    try:
        with zipfile.ZipFile(file) as parts:
            damaged = parts.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"the checksum of its part {damaged} is another")
        return torch.load(file, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]
    except (RuntimeError, OSError, EOFError, ValueError, UnpicklingError, zipfile.BadZipFile) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"resume: expected a checkpoint, but {str(file)!r} cannot be read ({reason}); delete it to train anew"
        ) from error
