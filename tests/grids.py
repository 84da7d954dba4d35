"""Starts grids in processes of their own, and reads what they leave."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd

ROOT = Path(__file__).parents[1]
SMALL = ["model=minilm", "model.max_length=16", "task.loss.pairs.per_record=2", "selection.bootstrap=2", "logger=csv"]
SMALL += ["trainer=cpu", "trainer.threads=1", "trainer.checkpoint_seconds=0"]


def start(*arguments: str) -> subprocess.Popen[str]:
    """Starts a grid in a process of its own, whose workers find `evil` in tests/."""
    kept_out = ("WANDB_", "COV")  # tracing the imports of so many processes takes minutes
    environment = {name: value for name, value in os.environ.items() if not name.startswith(kept_out)}
    return subprocess.Popen(
        [sys.executable, "train.py", *arguments],
        cwd=ROOT,
        env={**environment, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT / "tests")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]", seconds: float = 600) -> tuple[int, str, str]:
    """Waits for a process; returns its exit status, standard output and standard error."""
    output, errors = process.communicate(timeout=seconds)
    return process.returncode, output, errors


def table(output: Path) -> pd.DataFrame:
    """Returns the collected cells but for what differs between two runs of the same: times, and where they lie."""
    (file,) = output.glob("grids/*/cells.csv")
    cells = pd.read_csv(file)
    return cells.drop(columns=[name for name in cells if name.startswith("seconds/") or name == "overrides"])


def states(output: Path) -> dict[str, Any]:
    """Returns the record of each job by its overrides."""
    records = [json.loads(file.read_text()) for file in sorted(output.glob("grids/*/jobs/*.json"))]
    return {" ".join(record["overrides"]): record for record in records}
