"""What `validate` passes runs, and what cannot run it refuses by a named rule: over all files of all groups."""

import json
import math
import os
import random
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import permutations
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from combinations import Choices, Grid, covering_set, pairs_of
from hydra.utils import get_class
from in_process import cells, here
from omegaconf import OmegaConf
from small_reviews import write_reviews
from toy_instructions import examples, write_instructions, write_rows

from layersel.cell.rules import RULES, validate
from layersel.cell.steps import STEPS, TRAIN
from layersel.config import CONF, TARGET, build_group, choice, choices
from layersel.runs.folder import RunFolder
from layersel.tasks.screening.heads.fusion import Fusion
from layersel.terminal.help import WHOLE

OF_EVALUATE = ["simulation", "stopping"]
GROUPS = sorted({path.parent.name for path in CONF.glob("*/*.yaml")} - {*WHOLE, *OF_EVALUATE})
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
DECODERS = [name for name in choices("model") if choice("model", name)["pooling"] == "last"]
# Whatever the files of groups leave to the user, and sizes at which a cell takes about a second: for rows with all of
# the choices in the key.
OPTIONS = {
    "task=screening": ["task.shots=4", "task.loss.pairs.per_record=4", "model.max_length=32"],
    "task=classification": ["task.train=16", "task.batch_size=4", "model.max_length=32"],
    "task=causal_lm": ["task.train=8", "task.batch_size=4", "task.samples=1", "task.new_tokens=2"],
    "task=causal_lm trainer=cpu": ["model.max_length=64"],
    "task=causal_lm trainer=auto": ["model.max_length=64", "task/retention=none"],
    "data=table": ["data.path={review0}"],
    "data=cohen": ["data.review=Antihistamines"],
    "data=swift": ["data.review=Fluoride"],
    "data=synergy": ["data.review=Donners_2021"],
    "data=glue": ["data.task=mrpc", "data.path={glue}"],
    "data=hub task=classification": ["data.path={labelled}"],
    "data=hub task=causal_lm": ["data.path={answered}"],
    "data=instructions": ["data.path={toy0}"],
    "data=text task=classification": ["data.path={labels0}"],
    "data=text task=causal_lm": ["data.path={plain0}"],
    "data=titles": ["data.path={review0}"],
    "selection=manual": ["selection.layers=[1,2]"],
    "selection=cka": ["selection.bootstrap=3", "selection.probe_size=16"],
    "selection=cka_paper": ["selection.probe_size=16"],
    "selection=cosine": ["selection.bootstrap=3", "selection.probe_size=16"],
    "selection=procrustes": ["selection.bootstrap=3", "selection.probe_size=16"],
    "selection=rsa": ["selection.bootstrap=3", "selection.probe_size=16"],
    "selection=svcca": ["selection.bootstrap=3", "selection.probe_size=16", "selection.variance=.5"],
    "selection=pwcca": ["selection.bootstrap=3", "selection.probe_size=16", "selection.variance=.5"],
    "selection=outliers": ["selection.bootstrap=3", "selection.probe_size=16"],
    "selection=plop": ["selection.bootstrap=3", "selection.probe_size=16"],
    "selection=eva": ["selection.probe_size=16"],
    "ranks=gora": ["ranks.r_max=12"],
    "regime=lisa": ["regime.n=1"],
    "selection=lora_drop": ["selection.bootstrap=3", "selection.probe_size=16"],
    "adapter=vera": ["adapter.rank=8"],
    "adapter=fourierft": ["adapter.n_frequency=100"],
    "pruning=wanda": ["pruning.calibration=8"],
    "pruning=layers": ["pruning.probe_size=8", "pruning.n=1"],
    "merging=adamerging": ["merging.steps=2"],
    "logger=wandb": ["logger.mode=offline"],
}
EVERY = ["task.max_steps=3", "trainer.threads=1"]
MERGED = {
    "data=cohen": "Antihistamines,Estrogens",
    "data=embedded": "place,matching",
    "data=glue": "mrpc,qqp",
    "data=hub task=classification": "{labelled},{labelled}2",
    "data=hub task=causal_lm": "{answered},{answered}2",
    "data=instructions": "{toy0},{toy1}",
    "data=table": "{review0},{review1}",
    "data=text task=classification": "{labels0},{labels1}",
    "data=text task=causal_lm": "{plain0},{plain1}",
    "data=titles": "{review0},{review1}",
}
"""Two datasets of each source that has several."""
TOLERANCE = 0.03  # of metrics: batches and, with bf16, roundings differ, and near ties change places


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


@pytest.fixture(scope="module", autouse=True)
def _heads_are_made_once() -> Iterator[None]:
    """A head makes those that it fuses anew for each rule that asks; thousands of combinations need not wait for it."""
    made: dict[int, Any] = {}
    make = Fusion.components

    def once(head: Fusion) -> Any:
        if id(head) not in made:
            made[id(head)] = make(head)
        return made[id(head)]

    with patch.object(Fusion, "components", once):
        yield


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
    absent |= {"swift", "synergy"} | (set() if "LAYERSEL_DATA" in os.environ else {"cohen"})
    absent |= set() if find_spec("datasets") else {"hub"}
    axes = {
        axis: {name: made for name, made in made.items() if name not in absent} for axis, made in product.axes.items()
    }
    return Grid(axes | {"order": {order: order.split(",") for order in RUN_ORDERS}})


@pytest.mark.grid
def test_the_full_product_is_decided(product: Grid) -> None:
    """Every combination passes or breaks a named rule; every rule refuses something that no other rule does."""
    refused = {name: int(product.counts[array].sum()) for name, array in product.refused.items()}
    passing = int(product.counts[product.allowed].sum())
    print(f"{product.size:,} combinations: {passing:,} pass")
    for name, count in sorted(refused.items(), key=lambda item: -item[1]):
        print(f"{count:>13,} break {name}")
    assert 0 < passing < product.size
    needed = {name for name, array in product.refused.items() if array.any()}
    unbroken = {
        "order_is_one",
        "attention_dropout_needs_dropout",
        "dropped_layers_are_not_numbered",
        "half_weights_stay",
        "parameters_are_counted",
        "warm_up_needs_steps",
    }
    assert set(RULES) - needed == unbroken  # no file breaks these


def test_the_product_is_what_validate_says(runnable: Grid) -> None:
    """On a random sample of it, rule by rule."""
    source = random.Random(1)
    for _ in range(1000):
        row = runnable.draw(source)
        broken = {name for name, array in runnable.refused.items() if array[runnable.at(row)]}
        messages = validate(runnable.cell(row))
        assert set(messages) == broken, row
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
def given(
    tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path, tiny_decoder_folder: Path
) -> dict[str, str]:
    """Two small datasets for each source that reads files, and a tiny model of each kind."""
    folder = tmp_path_factory.mktemp("datasets")
    reviews = write_reviews(folder, 2, size=20)
    texts = [f"The {own['prompt'][7:-1]}" for own in examples()]
    made = {"glue": folder / "glue", "encoder": tiny_model_folder, "decoder": tiny_decoder_folder}
    for number, ending in enumerate(("it is.", "that it is.")):
        labels = [{"text": text, "label": "yes" if (place + number) % 3 else "no"} for place, text in enumerate(texts)]
        plain = [{"text": f"{text} here, and {ending}"} for text in texts]
        pairs = [{"sentence1": own["text"], "sentence2": ending, "label": int(own["label"] == "yes")} for own in labels]
        task = folder / "glue" / ("mrpc", "qqp")[number]
        hubs = [folder / f"{name}{'2' * number}" for name in ("labelled", "answered")]
        for own in (task, *hubs):
            own.mkdir(parents=True)
        made |= {f"labels{number}": write_rows(folder / f"labels{number}.jsonl", labels)}
        made |= {f"plain{number}": write_rows(folder / f"plain{number}.jsonl", plain)}
        made |= {f"toy{number}": write_instructions(folder, f"toy{number}", ending)}
        for split in ("train", "validation"):
            write_rows(task / f"{split}.jsonl", pairs if number == 0 else [_questions(own) for own in pairs])
        write_rows(hubs[0] / "train.jsonl", labels)
        write_instructions(hubs[1], "train", ending)
    made |= {"labelled": folder / "labelled", "answered": folder / "answered"}
    return {name: str(path) for name, path in made.items()} | {f"review{n}": own for n, own in enumerate(reviews)}


def _questions(pair: dict[str, Any]) -> dict[str, Any]:
    return {"question1": pair["sentence1"], "question2": pair["sentence2"], "label": pair["label"]}


def fitting(table: dict[str, Any], row: Choices) -> list[Any]:
    """The values whose keys name choices of the row only."""
    own = {f"{axis}={value}" for axis, value in row.items()}
    return [value for key, value in table.items() if set(key.split()) <= own]


def arguments_of(row: Choices, given: dict[str, str]) -> list[str]:
    """The command line of a combination but for its folder."""
    arguments = [f"order=[{value}]" if axis == "order" else f"{axis}={value}" for axis, value in row.items()]
    decodes = row["task"] == "causal_lm" or row["model"] in DECODERS
    arguments += [*EVERY, "model.path={decoder}" if decodes else "model.path={encoder}"]
    arguments += [option for options in fitting(OPTIONS, row) for option in options]
    if row["merging"] != "none":
        arguments += [f"merging.datasets=[{names}]" for names in fitting(MERGED, row)]
    return [argument.format(**given) for argument in arguments]


def run(row: Choices, folder: Path, given: dict[str, str], again: bool) -> tuple[float, dict[str, Any]]:
    """The primary metric and all of them of the cell, run by `train.py`; with `again`, `evaluate.py` finds them too."""
    arguments = [*arguments_of(row, given), f"output={folder}"]
    assert here("train.py", *arguments) == 0, " ".join(arguments)
    finished = [RunFolder(path) for path in cells(folder)]
    (own,) = [run for run in finished if run.merging.is_file() == (row["merging"] != "none")]
    metrics = own.read_metrics()
    if again and row["merging"] == "none":
        out = folder / "evaluated.json"
        assert here("evaluate.py", f"run={own.path}", f"out={out}", f"trainer={row['trainer']}") == 0
        evaluated = json.loads(out.read_text(encoding="utf-8"))
        primary = own.read_identity()["metric"]["name"]
        assert primary in evaluated
        for name, value in evaluated.items():
            known = metrics[name]
            same = pytest.approx(known, abs=TOLERANCE, rel=TOLERANCE) if known is not None else None
            assert value == same, (name, row)
    return metrics[own.read_identity()["metric"]["name"]], metrics


def check(rows: list[Choices], folder: Path, given: dict[str, str], again: bool) -> None:
    """Every combination runs to a finite metric."""
    print(f"{len(rows)} combinations run")
    for number, row in enumerate(rows):
        primary, metrics = run(row, folder / str(number), given, again)
        assert math.isfinite(primary), row
        assert all(value is None or math.isfinite(value) for value in metrics.values()), row


@pytest.mark.real
def test_every_choice_runs(runnable: Grid, given: dict[str, str], tmp_path: Path) -> None:
    """Each file of each group at least once, in combinations of several."""
    missing = {(axis, name) for axis, made in runnable.axes.items() for name in made}
    missing = {item for item in missing if runnable.allowed[runnable.at(dict([item]))].any()}
    rows = []
    for row in covering_set(runnable):
        if set(row.items()) & missing:
            missing -= set(row.items())
            rows.append(row)
    assert not missing
    check(rows, tmp_path, given, again=False)


@pytest.mark.grid
def test_every_pair_of_choices_runs(runnable: Grid, given: dict[str, str], tmp_path: Path) -> None:
    """What passes `validate` runs: a set of combinations in which every pair of choices of two groups stands."""
    check(covering_set(runnable), tmp_path, given, again=True)
