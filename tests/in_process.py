"""The scripts within the tests' own process, which spares the imports."""

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def here(script: str, *arguments: str) -> int:
    """The script as `python script` runs it; returns its exit status."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HYDRA_FULL_ERROR", "HF_HUB_DISABLE_PROGRESS_BARS", "DISABLE_SAFETENSORS_CONVERSION"):
            patch.setenv(name, "1")
        patch.setattr(sys, "argv", [script, *arguments])
        patch.setattr(sys, "path", [*sys.path])
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        except SystemExit as end:
            return int(end.code or 0)
    return 0


def cells(output: Path) -> list[Path]:
    """The folders of the cells below an output folder."""
    return sorted(file.parent for file in output.glob("*/status.json"))
