"""Edits files of finished runs and of grids as if they had been written so."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from layersel.files import read_sealed, sha256, write_sealed


def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes the content of a run's JSON file, and its checksum in the run's status."""
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)
    file.write_text(json.dumps(content), encoding="utf-8")
    reseal(file.parent)


def reseal(run: Path) -> None:
    """Writes the checksums of a run's files as they stand into its status."""
    status = read_sealed(run / "status.json")
    files = {name: sha256(run / name) for name in status["files"] if (run / name).is_file()}
    write_sealed(run / "status.json", status | {"files": files})
