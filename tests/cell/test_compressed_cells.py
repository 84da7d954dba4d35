"""Cells that prune and quantise, by `train.py`: in any order that makes sense, and evaluated from what they leave."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from in_process import cells, here
from small_reviews import write_reviews
from transformers import AutoModel

from layersel.runs.folder import RunFolder

DEFAULT = ["train", "merge", "prune", "quantise"]
OF_LAYERS = ["model.layers=all", "model.combine=concat", "task/head=best_layer"]
CELLS = {
    "wanda": (["pruning=wanda"], ["train", "merge", "prune"]),
    "wanda 2:4": (["pruning=wanda", "pruning.pattern='2:4'"], ["train", "merge", "prune"]),
    "magnitude beside an adapter": (["pruning=magnitude", "order=[train,prune]"], ["train", "prune"]),
    "random, then trained": (["pruning=random", "order=[prune,train]"], ["prune", "train"]),
    "wanda, then trained and merged": (["pruning=wanda", "order=[prune,train,merge]"], ["prune", "train", "merge"]),
    "layers, then trained": (["pruning=layers", "order=[prune,train]"], ["prune", "train"]),
    "layers, then pissa": (["adapter=pissa", "pruning=layers", "order=[prune,train]"], ["prune", "train"]),
    "layers, then full fine-tuning": (["adapter=full", "pruning=layers", "order=[prune,train]"], ["prune", "train"]),
    "layers after training": (["pruning=layers"], ["train", "merge", "prune"]),
    "int8": (["precision=int8"], ["train", "merge", "quantise"]),
    "int4": (["precision=int4"], ["train", "merge", "quantise"]),
    "int4, then trained": (["precision=int4", "order=[quantise,train]"], ["quantise", "train"]),
    "8-bit weights beside an adapter": (["precision=int8_weight", "order=[train,quantise]"], ["train", "quantise"]),
    "wanda and int8": (["pruning=wanda", "precision=int8"], DEFAULT),
    "wanda, trained, merged, int4": (
        ["pruning=wanda", "precision=int4", "order=[prune,train,merge,quantise]"],
        ["prune", "train", "merge", "quantise"],
    ),
    "layers and int8": (["pruning=layers", "precision=int8"], DEFAULT),
    "full fine-tuning, int8": (["adapter=full", "precision=int8"], ["train", "merge", "quantise"]),
    "pissa merged, wanda": (["adapter=pissa", "pruning=wanda"], ["train", "merge", "prune"]),
    "full fine-tuning, fewer layers": (["adapter=full", "pruning=layers"], ["train", "merge", "prune"]),
    "nothing placed, int8": (["adapter=frozen", "precision=int8"], ["train", "quantise"]),
    "dora merged, wanda": (["adapter=dora", "pruning=wanda"], ["train", "merge", "prune"]),
    "several layers, int8": ([*OF_LAYERS, "precision=int8"], ["train", "merge", "quantise"]),
    "several layers, some dropped": ([*OF_LAYERS, "pruning=layers"], ["train", "merge", "prune"]),
    "a mean of two outputs, wanda, int4": (
        ["model.layers=[1,3]", "model.combine=mean", "pruning=wanda", "precision=int4"],
        DEFAULT,
    ),
    "the last two of fewer layers": (
        ["model.layers=[-2,-1]", "model.combine=concat", "pruning=layers", "order=[prune,train]"],
        ["prune", "train"],
    ),
    "tied, int4": (["adapter=tied_lora", "precision=int4"], ["train", "merge", "quantise"]),
}


@pytest.fixture(scope="module")
def command(small_cell: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A training of a second."""
    (review,) = write_reviews(tmp_path_factory.mktemp("reviews"), 1, size=20)
    return [*small_cell, f"data.path={review}", "task.learning_rate=0.01"]


RARER = {
    "random, then trained",
    "layers, then pissa",
    "layers, then full fine-tuning",
    "pissa merged, wanda",
    "full fine-tuning, fewer layers",
    "dora merged, wanda",
    "wanda and int8",
    "wanda, then trained and merged",
    "several layers, int8",
    "several layers, some dropped",
    "tied, int4",
}
"""The cells that are tested with the heavier tests, as others have each of their steps in other company."""


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=pytest.mark.real if name in RARER else ()) for name in CELLS]
)
def cell(request: pytest.FixtureRequest, command: list[str], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The finished run of each cell, its steps, and its name."""
    options, steps = CELLS[request.param]
    output = tmp_path_factory.mktemp("runs")
    assert here("train.py", *command, *options, f"output={output}") == 0
    (folder,) = cells(output)
    return RunFolder(folder), steps, request.param


def content(path: Path) -> dict[str, Any]:
    """A JSON file's."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


def test_evaluate_finds_the_same_numbers(cell: Any, tmp_path: Path) -> None:
    """From the files alone: the compressed model, the adapter beside it, the head."""
    run, _, _ = cell
    out = tmp_path / "metrics.json"
    assert here("evaluate.py", f"run={run.path}", f"out={out}", "trainer=cpu") == 0
    expected = run.read_metrics()
    for name, value in content(out).items():
        assert value == pytest.approx(expected[name], abs=1e-6), name


def test_it_says_what_was_done(cell: Any) -> None:
    """The steps that had something to do, in their order, and the precision in effect."""
    run, steps, _ = cell
    report = content(run.compression)
    assert report["steps"] == steps
    assert report["train precision"] == "32-true"
    measured = {name: value for name, value in run.read_metrics().items() if not name.startswith("difference/")}
    assert all(math.isfinite(value) for value in measured.values())


def test_zeros_are_counted_after_each_step(cell: Any) -> None:
    """From pruning on, and no step loses any."""
    run, steps, name = cell
    shares = {key: value for key, value in run.read_metrics().items() if key.startswith("sparsity/")}
    if "prune" not in steps or "layers" in name:
        assert all(share < 0.5 for share in shares.values())
        return
    later = steps[steps.index("prune") :]
    assert list(shares) == [f"sparsity/after_{step}" for step in later]
    assert shares["sparsity/after_prune"] == pytest.approx(0.5, abs=0.02)
    assert min(shares.values()) == shares["sparsity/after_prune"]


def test_a_pruned_model_is_a_plain_folder(cell: Any) -> None:
    """Transformers alone loads it, with fewer layers or with zeros."""
    run, steps, name = cell
    if "quantise" in steps:
        return
    model = AutoModel.from_pretrained(run.model)
    if "layers" in name:
        assert len(model.encoder.layer) == model.config.num_hidden_layers == 3
        return
    weights = [module.weight for path, module in model.encoder.named_modules() if path.endswith(("query", "dense"))]
    for weight in weights:
        assert float((weight == 0).float().mean()) == pytest.approx(0.5, abs=0.1)


def test_without_its_model_a_run_is_not_evaluated(
    command: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """`keep_model=false` saves the space, for grids; the run says what to do instead."""
    assert here("train.py", *command, "pruning=magnitude", "keep_model=false", f"output={tmp_path}") == 0
    (folder,) = cells(tmp_path)
    assert not (folder / "model").exists()
    assert here("evaluate.py", f"run={folder}") == 2
    assert "run: it kept no compressed model; train with keep_model=true" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["pruning.pattern='1:3'", "pruning.sparsity=null"], "pruning.pattern"),
        (["pruning.projections=[gate]"], "gate"),
    ],
)
def test_what_cannot_be_pruned_is_told_before_the_training(
    command: list[str], options: list[str], says: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Though the pruning comes after it."""
    assert here("train.py", *command, f"output={tmp_path}", "pruning=wanda", *options) == 2
    assert says in capfd.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.rglob("selection.json"))


def test_merging_before_or_after_pruning_differs(command: list[str], tmp_path: Path) -> None:
    """The order is obeyed: other weights are pruned, and what is trained on is another model."""
    scores = set()
    for number, order in enumerate(("train,merge,prune", "train,prune,merge", "prune,train,merge", "train,prune")):
        output = tmp_path / str(number)
        assert here("train.py", *command, "pruning=wanda", f"order=[{order}]", f"output={output}") == 0
        (folder,) = cells(output)
        scores.add((folder / "ranking.csv").read_text(encoding="utf-8"))
    assert len(scores) == 4


def of_evaluation(command: list[str]) -> list[str]:
    """Returns those of a training's arguments that `evaluate.py` takes too."""
    return [argument for argument in command if argument.startswith(("model", "trainer", "data", "task.shots"))]


def test_the_model_of_a_run_is_the_encoder_of_another(
    command: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What it has learnt from is told in training and left out in judging; a damaged one is refused."""
    assert here("train.py", *command, "pruning=magnitude", f"output={tmp_path / 'first'}") == 0
    (first,) = cells(tmp_path / "first")
    again = [*command, f"model.path={first / 'model'}"]
    assert "learnt from" not in capfd.readouterr().out
    assert here("train.py", *again, "seed=1", f"output={tmp_path / 'second'}") == 0
    own, other = (RunFolder(run).read_learnt() for run in (first, *cells(tmp_path / "second")))
    assert f"model.path: its run has learnt from {len(own - other)} texts that" in capfd.readouterr().out
    assert len(own) == len(other) == 8 > len(own & other)
    arguments = of_evaluation(again)
    assert here("evaluate.py", *arguments, "seed=1", f"out={tmp_path / 'm.json'}") == 0
    assert content(tmp_path / "m.json")["n_test"] == 40 - len(own | other)
    weights = first / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    capfd.readouterr()
    assert here("evaluate.py", *arguments) == 2
    assert here("train.py", *again, "seed=2", f"output={tmp_path / 'third'}") == 2
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all("model.safetensors" in line and "is damaged (its checksum is another)" in line for line in lines)


def test_packed_integers_are_no_encoder_to_train(
    command: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A model of packed integers is refused before anything is read, with what reads it."""
    assert here("train.py", *command, "precision=int4", f"output={tmp_path / 'first'}") == 0
    (first,) = cells(tmp_path / "first")
    again = [*command, f"model.path={first / 'model'}"]
    arguments = of_evaluation(again)
    capfd.readouterr()
    assert here("train.py", *again, f"output={tmp_path / 'second'}") == 2
    assert here("evaluate.py", *arguments) == 2
    printed = capfd.readouterr()
    refused = f"holds packed integers, which only evaluate.py run={first.resolve()} reads"
    assert [refused in line for line in printed.err.splitlines()] == [True, True]
    assert printed.out == ""
    assert not cells(tmp_path / "second")


def test_the_engine_is_no_part_of_what_a_cell_is(
    command: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With another engine the finished cell is found again: its numbers would be the same to the last bit."""
    options = [*command, "precision=int8", f"output={tmp_path}"]
    assert here("train.py", *options, "precision.engine=float32") == 0
    (folder,) = cells(tmp_path)
    ranking = (folder / "ranking.csv").read_bytes()
    assert content(RunFolder(folder).compression)["engine"] == "float32"
    capfd.readouterr()
    assert here("train.py", *options) == 0
    assert "This cell has finished before" in "".join(capfd.readouterr())
    assert here("train.py", *options, "precision.engine=onednn_unsigned", "force=true") == 0
    assert cells(tmp_path) == [folder]
    assert (folder / "ranking.csv").read_bytes() == ranking
