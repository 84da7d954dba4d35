"""What `validate` passes runs, and what cannot run it refuses by a named rule: over all files of all groups."""

import json
import math
import os
import random
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from combinations import Choices, Grid, covering_set, pairs_of
from hydra.utils import get_class
from in_process import cells, here
from omegaconf import OmegaConf
from small_reviews import write_reviews

from layersel.cell.rules import RULES, validate
from layersel.cell.steps import STEPS, TRAIN
from layersel.config import CONF, TARGET, build_group, choice
from layersel.runs.folder import RunFolder
from layersel.terminal.help import WHOLE

GROUPS = sorted({path.parent.name for path in CONF.glob("*/*.yaml")} - set(WHOLE))
ORDERS = [
    ",".join(order) for length in range(1, len(STEPS) + 1) for order in permutations(STEPS, length) if TRAIN in order
]
# Those that are run: the default first, then one for each way in which steps can depend on each other.
RUN_ORDERS = [
    "train,merge,prune,quantise",
    "prune,train,merge,quantise",
    "train,prune,merge,quantise",
    "train,prune,quantise",
    "prune,quantise,train",
    "quantise,train,prune",
]
# Whatever the file of a group leaves to the user, and sizes at which a cell takes about a second.
OPTIONS = {
    "data=table": ["data.path={table}"],
    "data=cohen": ["data.review=Antihistamines"],
    "selection=manual": ["selection.layers=[1]"],
    "selection=cka": ["selection.bootstrap=3", "selection.probe_size=16"],
    "adapter=vera": ["adapter.rank=8"],
    "pruning=wanda": ["pruning.calibration=8"],
    "pruning=layers": ["pruning.probe_size=8", "pruning.n=1"],
    "merging=adamerging": ["merging.steps=2"],
    "loss=pairwise": ["task.loss.pairs.per_record=4"],
    "logger=wandb": ["logger.mode=offline"],
}
EVERY = ["model.path={model}", "model.max_length=32", "task.max_steps=3", "task.shots=4", "trainer.threads=1"]
TOLERANCE = 0.03  # of metrics: batches and, with bf16, roundings differ, and near ties change places
REVIEWS = {"table": "merging.datasets=[{table},{other}]", "cohen": "merging.datasets=[Antihistamines,Estrogens]"}


def options_of(group: str, name: str) -> Any:
    """What a group's file makes, with whatever its own `problems` says, and what is made of the groups within."""
    node = choice(group, name)
    kind = get_class(node.pop(TARGET))
    inner = {key: build_group(key, own) for key, own in node.items() if isinstance(own, dict) and TARGET in own}
    options = kind(**node | inner)
    if group == "merging" and name != "none":
        options.datasets = ["one", "other"]
    return options


def names(group: str) -> list[str]:
    """The choices of a group, its default first."""
    (default,) = [entry[group] for entry in OmegaConf.load(CONF / "train.yaml").defaults if group in entry]
    return sorted((path.stem for path in (CONF / group).glob("*.yaml")), key=lambda name: (name != default, name))


@pytest.fixture(scope="module")
def product() -> Grid:
    """Every file of every group, and every order of the steps."""
    axes = {group: {name: options_of(group, name) for name in names(group)} for group in GROUPS}
    orders = sorted(ORDERS, key=lambda order: order != RUN_ORDERS[0])
    return Grid(axes | {"order": {order: order.split(",") for order in orders}})


@pytest.fixture(scope="module")
def runnable(product: Grid) -> Grid:
    """What this machine can run of it, with some of the orders."""
    absent = set() if torch.cuda.is_available() else {"gpu", "fp16"}
    absent |= set() if "LAYERSEL_DATA" in os.environ else {"cohen"}
    axes = {
        axis: {name: made for name, made in made.items() if name not in absent} for axis, made in product.axes.items()
    }
    return Grid(axes | {"order": {order: order.split(",") for order in RUN_ORDERS}})


@pytest.mark.grid
def test_the_full_product_is_decided(product: Grid) -> None:
    """Every combination passes or breaks a named rule; every rule refuses something that no other rule does."""
    refused = {name: int(array.sum()) for name, array in product.refused.items()}
    passing = int(product.allowed.sum())
    print(f"{product.allowed.size:,} combinations: {passing:,} pass")
    for name, count in sorted(refused.items(), key=lambda item: -item[1]):
        print(f"{count:>12,} break {name}")
    assert 0 < passing < product.allowed.size
    needed = {name for name, array in product.refused.items() if array.any()}
    unbroken = {
        "order_is_one",
        "attention_dropout_needs_dropout",
        "dropped_layers_are_not_numbered",
        "head_has_its_layers",
        "merging_needs_what_the_task_offers",
        "task_takes_data",
    }
    assert set(RULES) - needed == unbroken  # no file breaks these


def test_the_product_is_what_validate_says(runnable: Grid) -> None:
    """On a random sample of it, rule by rule."""
    source = random.Random(1)
    for _ in range(1000):
        choices = runnable.draw(source)
        broken = {name for name, array in runnable.refused.items() if array[runnable.at(choices)]}
        messages = validate(runnable.cell(choices))
        assert set(messages) == broken, choices
        assert all("\n" not in message and len(message) < 200 for message in messages.values())


def test_the_covering_set_covers(runnable: Grid) -> None:
    """Every pair of choices stands in some combination, or every combination with it is refused."""
    rows = covering_set(runnable)
    covered = set().union(*(pairs_of(row, runnable.names) for row in rows))
    for row in rows:
        assert not validate(runnable.cell(row)), row
    for one, first in enumerate(runnable.names):
        for second in runnable.names[one + 1 :]:
            for pair in ((a, b) for a in runnable.axes[first] for b in runnable.axes[second]):
                has_it = ((first, pair[0]), (second, pair[1])) in covered
                assert has_it or not runnable.allowed[runnable.at({first: pair[0], second: pair[1]})].any()


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two small reviews."""
    return dict(zip(("table", "other"), write_reviews(tmp_path_factory.mktemp("tables"), 2, size=20), strict=True))


def run(choices: Choices, folder: Path, given: dict[str, str], again: bool) -> dict[str, Any]:
    """The metrics of the cell, run by `train.py`; with `again`, those that `evaluate.py` finds must be the same."""
    arguments = [f"order=[{value}]" if axis == "order" else f"{axis}={value}" for axis, value in choices.items()]
    for axis, value in choices.items():
        arguments += OPTIONS.get(f"{axis}={value}", [])
    if choices["merging"] != "none":
        arguments.append(REVIEWS[choices["data"]])
    arguments = [argument.format(**given) for argument in [*EVERY, *arguments, f"output={folder}"]]
    assert here("train.py", *arguments) == 0, " ".join(arguments)
    finished = [RunFolder(path) for path in cells(folder)]
    (own,) = [run for run in finished if run.merging.is_file() == (choices["merging"] != "none")]
    metrics = own.read_metrics()
    if again and choices["merging"] == "none":
        out = folder / "evaluated.json"
        assert here("evaluate.py", f"run={own.path}", f"out={out}", f"trainer={choices['trainer']}") == 0
        for name, value in json.loads(out.read_text(encoding="utf-8")).items():
            assert value == pytest.approx(metrics[name], abs=TOLERANCE), (name, choices)
    return metrics


def check(rows: list[Choices], folder: Path, given: dict[str, str], again: bool) -> None:
    """Every combination runs to a finite metric."""
    print(f"{len(rows)} combinations run")
    for number, row in enumerate(rows):
        metrics = run(row, folder / str(number), given, again)
        assert math.isfinite(metrics["awss@95"]), row
        assert all(value is None or math.isfinite(value) for value in metrics.values()), row


@pytest.mark.real
def test_every_choice_runs(runnable: Grid, tables: dict[str, str], tiny_model_folder: Path, tmp_path: Path) -> None:
    """Each file of each group at least once, in combinations of several."""
    missing = {(axis, name) for axis, made in runnable.axes.items() for name in made}
    missing = {item for item in missing if runnable.allowed[runnable.at(dict([item]))].any()}
    rows = []
    for row in covering_set(runnable):
        if set(row.items()) & missing:
            missing -= set(row.items())
            rows.append(row)
    assert not missing
    check(rows, tmp_path, {**tables, "model": str(tiny_model_folder)}, again=False)


@pytest.mark.grid
def test_every_pair_of_choices_runs(
    runnable: Grid, tables: dict[str, str], tiny_model_folder: Path, tmp_path: Path
) -> None:
    """What passes `validate` runs: a set of combinations in which every pair of choices of two groups stands."""
    check(covering_set(runnable), tmp_path, {**tables, "model": str(tiny_model_folder)}, again=True)
