"""The main job with MiniLM on real records, as `make demo` and the experiments run it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from in_process import cells

ROOT = Path(__file__).parents[1]
PEAK_MEMORY_GB = 2.5


def run(output: Path, *options: str) -> tuple[dict[str, Any], float]:
    """The metrics of a cell in a process of its own, without seconds, and its peak memory in GB."""
    before = set(cells(output))
    command = [sys.executable, "-c", MEASURED, "logger=csv", f"output={output}", *options]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    (folder,) = set(cells(output)) - before
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    peak_gb = int(finished.stdout.splitlines()[-1]) / 2**20
    return {name: value for name, value in metrics.items() if not name.startswith("seconds/")}, peak_gb


MEASURED = """
import resource, runpy
runpy.run_path("train.py", run_name="__main__")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.real
def test_demo_on_short_texts(tmp_path: Path) -> None:
    """Real weights carry meaning: even 48 tokens of a record rank far better than chance, adapted or not."""
    metrics, _ = run(tmp_path, "experiment=demo", "task/head=nearest", "model.max_length=48", "task.max_steps=5")
    assert (metrics["n_test"], metrics["n_included"]) == (284, 35)
    assert metrics["parameters/trainable"] == 3 * 2 * 2 * 384 * 8  # layers, projections, A and B, width, rank
    assert metrics["base/auroc"] > 0.7
    assert metrics["auroc"] > 0.7
    assert metrics["auroc"] != metrics["base/auroc"]


@pytest.mark.real
@pytest.mark.skipif("LAYERSEL_DATA" not in os.environ, reason="LAYERSEL_DATA is not set")
def test_nsaids_cell_repeats_within_its_memory(tmp_path: Path) -> None:
    """The same cell twice gives the same numbers, in less than 2.5 GB."""
    cell = ["model=minilm", "data=cohen", "data.review=NSAIDS", "selection.n=3", "trainer=cpu"]
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    first, peak_gb = run(tmp_path / "first", *cell)
    second, _ = run(tmp_path / "second", *cell)
    assert first == second
    assert first["n_test"] == 377
    assert peak_gb < PEAK_MEMORY_GB
