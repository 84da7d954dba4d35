"""A cell that chooses the layers of another one takes that one's training, and ends with the same bits."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from in_process import cells, here
from safetensors.torch import load_file
from small_reviews import write_reviews
from toy_instructions import small_training, write_instructions, write_rows

from layersel.cell.adapter_training import AdapterTraining
from layersel.cell.shared import Shared
from layersel.cell.steps import TRAIN
from layersel.config import choices
from layersel.files import read_json
from layersel.runs.folder import RunFolder
from layersel.selection.regimes.fixed import Fixed

ONE, OTHER = ["selection=last", "selection.n=2"], ["selection=manual", "selection.layers=[2,3]"]
QUICK = ["lora", "adalora", "full"]
KINDS = [
    pytest.param([f"adapter={kind}"], id=kind, marks=() if kind in QUICK else pytest.mark.real)
    for kind in choices("adapter")
    if kind != "frozen"
]
Run = Callable[..., dict[str, Any]]


def found(folder: Path) -> dict[str, Any]:
    """All that a cell leaves but for its times and what it was called by, with its adapter to the last bit."""
    run = RunFolder(folder)
    metrics = {name: value for name, value in run.read_metrics().items() if not name.startswith("seconds/")}
    texts = {file.name: file.read_bytes() for file in [*folder.glob("*.csv"), *folder.glob("logs/*.csv")]}
    tensors = [*folder.glob("*.safetensors"), *run.adapter.glob("*.safetensors")]  # their headers have no order
    values = {file.name: {name: own.tolist() for name, own in load_file(file).items()} for file in tensors}
    return {"metrics": metrics, "curves": read_json(run.curves)} | texts | values


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs one cell in an output folder of its own, and returns what it has left."""
    count = iter(range(100))

    def cell(command: list[str], *options: str, shared: Path | None = None) -> dict[str, Any]:
        output = tmp_path / f"output{next(count)}"
        where = [f"output={output}", f"shared={'null' if shared is None else shared}"]
        assert here("train.py", *command, *options, *where) == 0
        return found(*cells(output))

    return cell


@pytest.fixture
def screening(small_cell: list[str], tmp_path: Path) -> list[str]:
    """A cell on a small review."""
    (review,) = write_reviews(tmp_path, 1)
    return [*small_cell, f"data.path={review}", "task.learning_rate=0.01"]


def assert_trained_once(run: Run, command: list[str], shared: Path) -> None:
    """Parameters, metrics, predictions and log are those of a cell that trains for itself, the times the first ones."""
    alone = run(command, *OTHER)
    run(command, *ONE, "grid=one", shared=shared)
    with patch.object(AdapterTraining, "run", side_effect=AssertionError("trained")):
        assert run(command, *OTHER, "grid=one", shared=shared) == alone
    folders = [folder for output in sorted(shared.parent.glob("output*"))[1:] for folder in cells(output)]
    one, other = (RunFolder(folder).read_metrics() for folder in folders)
    for name in ("seconds/train", "seconds/train_1000_tokens"):
        assert other[name] == one[name]
    assert other["seconds/total"] > other["seconds/train"]


@pytest.mark.parametrize(
    "options",
    [
        *KINDS,
        pytest.param(["adapter.dropout=0.2", "task.dropout=true", "precision=bf16"], id="dropout"),
        pytest.param(["pruning=magnitude", "precision=int8_weight"], id="compressed afterwards"),
    ],
)
def test_the_same_layers_are_trained_once(options: list[str], run: Run, screening: list[str], tmp_path: Path) -> None:
    """A training is taken with any adapter, and whatever is done to the model afterwards."""
    assert_trained_once(run, [*screening, *options], tmp_path / "shared")


def test_a_trained_head_comes_along(run: Run, small_cell: list[str], tmp_path: Path) -> None:
    """The head's standardisation comes too, which is no parameter; and the weights of the best epoch, not the last."""
    rows = [{"text": f"{('red', 'green')[number % 2]} thing {number}", "label": number % 2} for number in range(40)]
    data = ["data=text", f"data.path={write_rows(tmp_path / 'rows.jsonl', rows)}", "task=classification"]
    task = ["task.train=16", "task.validation=8", "task.patience=1", "task.batch_size=4"]
    own = [option for option in small_cell if not option.startswith(("data=", "task."))]
    assert_trained_once(run, [*own, *data, *task], tmp_path / "shared")


def test_a_decoder_is_trained_once(run: Run, tiny_decoder_folder: Path, tmp_path: Path) -> None:
    """Its losses and its answers are those of the first cell."""
    data = f"data.path={write_instructions(tmp_path, 'toy')}"
    assert_trained_once(run, [*small_training(tiny_decoder_folder), data, "task.train=8"], tmp_path / "shared")


def test_what_decides_a_training_is_not_shared(run: Run, screening: list[str], tmp_path: Path) -> None:
    """Another seed, rank, loss, length or precision is another training; so are other layers."""
    shared = tmp_path / "shared"
    changes = [[], ["seed=1"], ["adapter.rank=4"], ["task/loss=supcon"], ["task.max_steps=2"], ["selection.n=1"]]
    changes += [["precision=bf16"], ["adapter=dora"]]
    for number, options in enumerate(changes, start=1):
        run(screening, *ONE, *options, "grid=one", shared=shared)
        assert len(list(shared.glob("trainings/*.safetensors"))) == number, options


@pytest.mark.parametrize(
    "options", [["regime=lisa"], ["order=[prune,train]", "pruning=magnitude"], ["force=true"], ["grid=null"]]
)
def test_some_train_for_themselves(options: list[str], run: Run, screening: list[str], tmp_path: Path) -> None:
    """Layers that take turns, a model that is pruned before, a cell that is forced, and one that is of no grid."""
    run(screening, *ONE, "grid=one", shared=tmp_path / "shared")
    with patch.object(AdapterTraining, "restored", side_effect=AssertionError("not trained")):
        run(screening, *ONE, "grid=one", *options, shared=tmp_path / "shared")
    assert len(list(tmp_path.glob("shared/trainings/*.safetensors"))) == 1


def test_a_resumed_training_is_its_own() -> None:
    """A training that resumes may have begun on other hardware, and its checkpoint must not wait for another cell."""
    cell: Any = SimpleNamespace(grid="one", shared="store", force=False, steps=[TRAIN], regime=Fixed())
    trainings: list[Any] = [SimpleNamespace(resumes=resumes, trains=True) for resumes in (False, True)]
    assert [Shared(cell).spares(training) for training in trainings] == [True, False]
