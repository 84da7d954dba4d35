"""A second task, the regression of a number from a text, goes all ways without an edit outside its own folder."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
TOY = ROOT / "tests" / "toy_task"
EXACT = {"rmse", "base/rmse", "mean/rmse", "n_test", "parameters/trainable"}


def script(name: str, *options: str, status: int = 0) -> str:
    """What a script prints, with the toy's options beside layersel's."""
    return python(name, "--config-dir", str(TOY / "conf"), *options, "trainer=cpu", "trainer.threads=1", status=status)


def python(*arguments: str, status: int = 0) -> str:
    """What Python prints; it must exit with that status."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(TOY.parent), "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert process.returncode == status, process.stderr
    return process.stdout + process.stderr


class Lab:
    """An output folder with its cells."""

    def __init__(self, output: Path, model: Path):
        self.output = output
        self.options = ["task=toy", "data=toy", f"model.path={model}", "model.pooling=mean", "model.max_length=12"]
        self.options += ["selection.n=2", "logger=csv", "figures=few", f"output={output}"]

    def train(self, *options: str) -> str:
        """Runs train.py."""
        return script("train.py", *options, *self.options)  # argparse wants -m before the overrides

    def cell(self, name: str) -> Path:
        """The one cell whose folder begins with that name."""
        (folder,) = self.output.glob(f"{name}-*")
        return folder

    def metrics(self, name: str) -> dict[str, Any]:
        """The metrics of a cell."""
        return json.loads((self.cell(name) / "metrics.json").read_text())  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path) -> Lab:
    """A lab in which one cell has run."""
    lab = Lab(tmp_path_factory.mktemp("toy"), tiny_model_folder)
    lab.train("selection=last")
    return lab


def test_a_cell_learns_and_is_the_same_again(lab: Lab) -> None:
    """The vectors say more than the mean; `force=true` gives every number again; the head is the task's file."""
    first = lab.metrics("stress-last2-seed0")
    assert first.keys() >= EXACT
    assert first["rmse"] < first["mean/rmse"]
    assert first["rmse"] != first["base/rmse"]  # the adapter has changed something
    assert first["n_test"] == 24
    assert load_file(lab.cell("stress-last2-seed0") / "ridge.safetensors")["weight"].shape == (32,)
    lab.train("selection=last", "force=true")
    again = lab.metrics("stress-last2-seed0")
    assert {name: again[name] for name in EXACT} == {name: first[name] for name in EXACT}


def test_a_grid_is_compared_where_lower_is_better(lab: Lab) -> None:
    """Its tables are of the RMSE; whoever has the lower one of the same seed wins."""
    assert "RMSE" in lab.train("-m", "selection=last,grad_norm", "seed=0,1", "grid=toy")
    grid = lab.output / "grids" / "toy"
    values = pd.read_csv(grid / "cells.csv").pivot_table(index="seed", columns="selection", values="rmse")
    assert values.shape == (2, 2)
    python("-m", "layersel.sweep", str(grid), "--reference", "selection=last")
    comparisons = pd.read_csv(grid / "comparisons.csv")
    assert set(comparisons["against"]) == {"configuration", "base", "mean"}
    (row,) = comparisons[comparisons["against"] == "configuration"].to_dict("records")
    assert (row["metric"], row["reference"]) == ("rmse", "selection=last")
    assert row["wins"] == int((values["grad_norm"] < values["last"]).sum())
    assert row["losses"] == int((values["grad_norm"] > values["last"]).sum())
    assert 0 < row["wins"] + row["losses"] <= 2
    assert set(pd.read_csv(grid / "curves.csv")["curve"]) == {"loss"}  # the task records no curves of its own
    assert "rmse" in (grid / "report.html").read_text(encoding="utf-8").lower()


def test_a_run_is_evaluated_again(lab: Lab, tmp_path: Path) -> None:
    """On its own data the saved model and head have the RMSE that the run has measured."""
    out = tmp_path / "metrics.json"
    script("evaluate.py", f"run={lab.cell('stress-last2-seed0')}", f"out={out}")
    run = lab.metrics("stress-last2-seed0")
    assert json.loads(out.read_text()) == pytest.approx({name: run[name] for name in ("rmse", "n_test")}, rel=1e-5)


def test_unlabelled_texts_are_predicted(lab: Lab, tmp_path: Path) -> None:
    """Every text of a file gets a number, and severe ones a higher one."""
    texts = ["no no no no no stress", "severe severe severe severe severe stress"]
    (tmp_path / "new.csv").write_text("text\n" + "\n".join(texts) + "\n", encoding="utf-8")
    run, out = lab.cell("stress-last2-seed0"), tmp_path / "out.csv"
    printed = script("evaluate.py", f"run={run}", f"records={tmp_path / 'new.csv'}", f"out={out}")
    assert "2 predictions" in printed
    with out.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == texts
    assert float(rows[0]["number"]) < float(rows[1]["number"])


def test_adapters_of_two_topics_are_merged(lab: Lab) -> None:
    """λ is searched by the task's held-out loss; the merged adapter is judged on both topics beside their own."""
    lab.train("selection=last", "merging=ties", "merging.datasets=[stress,sleep]", "merging.search=common")
    merged = lab.cell("stress+sleep-ties-seed0")
    metrics = json.loads((merged / "metrics.json").read_text())
    for topic in ("stress", "sleep"):
        assert metrics[f"{topic}/own/rmse"] == lab.metrics(f"{topic}-last2-seed0")["rmse"]
        assert metrics[f"{topic}/rmse"] < lab.metrics(f"{topic}-last2-seed0")["mean/rmse"]
        assert (merged / "datasets" / topic / "ridge.safetensors").is_file()
    assert len(set(json.loads((merged / "merging.json").read_text())["weights"][0])) == 1


def test_a_merge_that_asks_for_more_than_the_task_offers_is_refused(lab: Lab) -> None:
    """In one line, and before any adapter is trained: the toy task has no logits."""
    before = set(lab.output.iterdir())
    options = ["selection=last", "merging=adamerging", "merging.datasets=[stress,music]"]
    printed = script("train.py", *options, *lab.options, status=2)
    assert [line for line in printed.splitlines() if "merging=adamerging: it finds its weights by" in line]
    assert set(lab.output.iterdir()) == before
