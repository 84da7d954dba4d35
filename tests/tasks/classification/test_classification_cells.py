"""Classification goes all ways of train.py and evaluate.py: cells, grids, merging, compression, predictions."""

import contextlib
import csv
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sklearn.metrics
from in_process import here
from safetensors.torch import load_file

from layersel.data.texts.embedded import Embedded

ROOT = Path(__file__).parents[3]
EXACT = ("accuracy", "matthews", "base/accuracy", "base/matthews", "tfidf/accuracy", "constant/accuracy", "n_test")


CPU = ("trainer=cpu", "trainer.threads=1")


def in_own_process(name: str, *options: str) -> str:
    """What a script prints in a process of its own, as a user runs it."""
    process = subprocess.run(
        [sys.executable, name, *options, *CPU],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout + process.stderr


def script(name: str, *options: str, status: int = 0) -> str:
    """What a script prints in the tests' process; it must exit with that status."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        exited = here(name, *options, *CPU)
    assert exited == status, printed.getvalue()
    return printed.getvalue()


class Lab:
    """An output folder with its cells."""

    def __init__(self, output: Path, model: Path):
        self.output = output
        self.options = ["task=classification", "data=embedded", "model=minilm", f"model.path={model}"]
        self.options += ["model.max_length=24", "logger=csv", "figures=few", f"output={output}", "task.train=40"]

    def train(self, *options: str, status: int = 0) -> str:
        """Runs train.py; what comes first holds -m."""
        return script("train.py", *options, *self.options, status=status)

    def cell(self, name: str) -> Path:
        """The one cell whose folder begins with that name."""
        (folder,) = self.output.glob(f"{name}-*")
        return folder

    def read(self, name: str, file: str = "metrics.json") -> Any:
        """A JSON file of a cell."""
        return json.loads((self.cell(name) / file).read_text())


OPTIONS = ("data.question=place", "selection=last", "selection.n=2", "task.patience=1", "task.epochs=2")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path) -> Lab:
    """A lab in which one cell has run: sentences of abstracts, the last two layers, early stopping."""
    lab = Lab(tmp_path_factory.mktemp("classes"), tiny_model_folder)
    printed = in_own_process("train.py", *OPTIONS, *lab.options)
    assert "32 examples to learn from, 8 to stop by, 216 to test on" in printed
    return lab


PLACE = "place-last2-seed0"


def test_a_cell_learns_and_is_the_same_again(lab: Lab) -> None:
    """What the run says of its test examples is what scikit-learn says; `force=true` gives every number again."""
    first = lab.read(PLACE)
    assert first["n_test"] == 256 - 40
    file = pd.read_csv(lab.cell(PLACE) / "predictions.csv", encoding="utf-8-sig")
    assert len(file) == first["n_test"]
    assert first["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(file["label"], file["predicted"]))
    assert first["matthews"] == pytest.approx(sklearn.metrics.matthews_corrcoef(file["label"], file["predicted"]))
    shares = file[["probability of opening", "probability of closing"]]
    assert shares.sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)
    assert lab.read(PLACE, "identity.json")["metric"]["name"] == "accuracy"
    assert lab.read(PLACE, "identity.json")["lower_is_better"] == ["rmse"]
    assert first["accuracy"] != first["base/accuracy"]
    learnt = lab.read(PLACE, "training_records.json")
    assert len(learnt) == 40
    assert not {row["row"] for row in learnt} & set(file["row"])
    assert (lab.cell(PLACE) / "figures" / "confusion.png").is_file()
    lab.train(*OPTIONS, "force=true")
    again = lab.read(PLACE)
    assert {name: again[name] for name in EXACT} == {name: first[name] for name in EXACT}


def test_a_run_is_evaluated_again(lab: Lab, tmp_path: Path) -> None:
    """On its own data the saved adapter and head have the metrics that the run has measured; a fitted one another."""
    out = tmp_path / "metrics.json"
    in_own_process("evaluate.py", f"run={lab.cell(PLACE)}", f"out={out}")
    run, again = lab.read(PLACE), json.loads(out.read_text())
    assert again == pytest.approx({name: run[name] for name in again}, rel=1e-6)
    assert set(again) == {"accuracy", "f1", "macro_f1", "matthews", "n_test"}


def test_other_classes_are_refused_by_a_saved_head(lab: Lab) -> None:
    """In one line; numbers are too."""
    run = f"run={lab.cell(PLACE)}"
    printed = script("evaluate.py", run, "data=embedded", "data.question=matching", status=2)
    assert "expected the classes of the run (opening, closing), but got 'other' too; give head=fit" in printed
    printed = script("evaluate.py", run, "data=embedded", "data.question=year", status=2)
    assert "expected classes as labels, as in the run, but got numbers; give head=fit" in printed


def test_prompts_are_refused_before_they_are_read(lab: Lab) -> None:
    """A source that has responses only has no labels to learn, whatever its file says."""
    options = [own for own in lab.options if own != "data=embedded"]
    printed = script("train.py", "data=titles", *options, status=2)
    assert "expected a source that task=classification takes (LabelledSource), but got Titles" in printed


def test_unlabelled_texts_are_predicted(lab: Lab, tmp_path: Path) -> None:
    """Every text of a file gets a class of the run with its probability, the same as in the run's own file."""
    examples, own = Embedded("place").load().examples, pd.read_csv(lab.cell(PLACE) / "predictions.csv")
    rows = own["row"].head(4).tolist()
    with (tmp_path / "new.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["text"], *([examples[row - 1].text] for row in rows)])
    out = tmp_path / "out.csv"
    printed = script("evaluate.py", f"run={lab.cell(PLACE)}", f"records={tmp_path / 'new.csv'}", f"out={out}")
    assert "4 predictions" in printed
    found = pd.read_csv(out)
    assert found["predicted"].tolist() == own["predicted"].head(4).tolist()
    assert found["probability of closing"].tolist() == pytest.approx(own["probability of closing"].head(4), abs=1e-4)
    assert "read: text" in printed
    refused = {
        "title\nA\n": "records: expected a table with a column 'text' in .*, but got title; rename that of the texts",
        "text\n": "records: expected texts in .*, but found only a header; export it again",
        "text,id\nA,1\n,2\n": "records: expected a text in every row, but row 2 of .* has none; leave it out",
        "text,pair\nA,B\n": "data: expected single texts, which the run has learnt from, but got pairs of texts; .*",
    }
    for content, line in refused.items():
        (tmp_path / "wrong.csv").write_text(content, encoding="utf-8")
        wrong = ["evaluate.py", f"run={lab.cell(PLACE)}", f"records={tmp_path / 'wrong.csv'}"]
        printed = script(*wrong, f"out={tmp_path / 'none.csv'}", status=2)
        assert re.search(f"^error: {line}$", printed, re.MULTILINE), printed
        assert not (tmp_path / "none.csv").exists()


@pytest.mark.real
def test_a_grid_with_the_head_alone_is_reported(lab: Lab) -> None:
    """The head is trained without an adapter too; the tables are of the dataset's own metric."""
    printed = lab.train(
        "-m", "data.question=inclusion", "selection=none,last", "seed=0,1", "grid=probe", "task.epochs=1"
    )
    assert "F1" in printed
    cells = pd.read_csv(lab.output / "grids" / "probe" / "cells.csv")
    assert len(cells) == 4
    alone = cells[cells["selection"] == "none"]
    assert set(alone["parameters/trainable"]) == {0}
    assert cells["f1"].notna().all()
    comparisons = pd.read_csv(lab.output / "grids" / "probe" / "comparisons.csv")
    assert set(comparisons["metric"]) == {"f1"}
    assert {"base", "tfidf"} <= set(comparisons["against"])
    seeded = lab.read("inclusion-none-seed0")
    head = load_file(lab.cell("inclusion-none-seed0") / "head.safetensors")
    assert head["weight"].shape == (2, 32)
    assert not (lab.cell("inclusion-none-seed0") / "adapter").exists()
    assert seeded["accuracy"] > 0


def test_numbers_are_learnt_by_an_adapter_that_is_merged_and_compressed(lab: Lab) -> None:
    """A regression on pruned and quantised weights goes through; evaluate.py finds its numbers again."""
    compressed = ("pruning=wanda", "precision=int8", "precision.engine=int_mm")
    lab.train("data.question=year", "selection=last", "selection.n=1", "task.epochs=1", *compressed)
    metrics = lab.read("year-last1-seed0")
    assert {"pearson", "spearman", "rmse", "base/rmse", "sparsity/after_prune"} <= set(metrics)
    assert metrics["sparsity/after_prune"] > 0.4
    out = lab.output / "year.json"
    script("evaluate.py", f"run={lab.cell('year-last1-seed0')}", f"out={out}")
    assert json.loads(out.read_text())["rmse"] == pytest.approx(metrics["rmse"], rel=1e-4)


def test_adapters_of_two_questions_are_merged(lab: Lab) -> None:
    """Both are judged by one metric beside their own adapters; λ is searched by the task's held-out loss."""
    options = ("selection=last", "selection.n=1", "task.epochs=1")
    datasets = "merging.datasets=[place,matching]"
    lab.train(*options, "merging=task_arithmetic", "merging.search=common", datasets)
    folder = lab.cell("place+matching-task_arithmetic-seed0")
    metrics = json.loads((folder / "metrics.json").read_text())
    for question in ("place", "matching"):
        assert metrics[f"{question}/own/accuracy"] == lab.read(f"{question}-last1-seed0")["accuracy"]
        assert 0 < metrics[f"{question}/accuracy"] <= 1
        assert (folder / "datasets" / question / "head.safetensors").is_file()
    weights = json.loads((folder / "merging.json").read_text())["weights"]
    assert weights[0] == weights[1]


def test_questions_of_different_metrics_are_not_merged(lab: Lab) -> None:
    """One line says which metric each has."""
    options = ("selection=last", "selection.n=1", "task.epochs=1", "merging=average")
    printed = lab.train(*options, "merging.datasets=[place,inclusion]", status=2)
    assert "task.metric: expected one metric for all datasets, but got place by accuracy, inclusion by f1" in printed


def test_gradients_of_the_loss_score_layers(lab: Lab) -> None:
    """The labelled score sees the loss under the head that starts as a probe: no layer has a gradient of 0."""
    lab.train("data.question=place", "selection=grad_norm", "selection.n=1", "task.epochs=1", "task.accumulate=2")
    scores = lab.read("place-grad_norm1-seed0", "selection.json")["scores"]
    assert all(score > 0 for score in scores)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["data.question=colour"], "data.question: expected one of inclusion, place, matching, year, but got 'colour'"),
        (["task.metric=rmse"], "task.metric: expected one of accuracy, f1, macro_f1, matthews, but got 'rmse'"),
        (["task.unfreeze_after=500", "task.epochs=1"], "task.unfreeze_after: expected fewer than the 3 steps"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(lab: Lab, options: list[str], line: str) -> None:
    """Without a traceback."""
    own = [
        option for option in lab.options if "=".join(option.split("=")[:1]) not in {o.split("=")[0] for o in options}
    ]
    printed = script("train.py", "selection=last", *own, *options, status=2)
    assert line in printed
    assert "Traceback" not in printed
