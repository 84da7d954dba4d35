"""What cells share spares work and changes no bit: cells of one process against cells that each have their own."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from in_process import ROOT, here
from safetensors.torch import load_file
from small_reviews import write_reviews
from torch import Tensor

from layersel.backbone import encode
from layersel.backbone.prefix import PrefixMemory
from layersel.cell import shared
from layersel.runs import store
from layersel.selection.scores.cka import CKA
from layersel.selection.scores.spectrum import Spectrum
from layersel.tasks.screening.heads.nearest import Nearest

CELLS = {
    "lora": ["selection=cka", "selection.n=2"],
    "frozen": ["adapter=frozen"],
    "pruned": ["pruning=wanda", "selection=cka", "selection.n=1"],
    "first texts": ["selection=cka", "selection.n=1", "selection.draw=first", "selection.probe_size=8"],
    "another budget": ["selection=cka", "selection.n=1", "adapter.rank=4"],
    "moved base": ["adapter=pissa", "adapter.rank=4", "selection=last", "selection.n=2"],
    "several layers": ["selection=last", "selection.n=2", "model.layers=all", "model.combine=concat"],
    "the mean of several": ["selection=last", "selection.n=1", "model.layers=[0,3]"],
    "bf16": ["precision=bf16", "selection=last", "selection.n=1"],
    "scores of the weights": ["selection=spectrum", "selection.n=1"],
    "scores of pruned layers": ["pruning=random", "order=[prune,train]", "selection=cka", "selection.n=1"],
}
FRESH = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from in_process import here
import layersel.cell.training_cell
import torch
torch.set_num_threads(1)
for command in json.loads(sys.argv[2]):
    child = os.fork()  # from a process that has imported everything and run nothing
    if child == 0:
        os._exit(here("train.py", *command))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, command
"""
Cell = dict[str, Any]
pytestmark = pytest.mark.real


def result(output: Path) -> Cell:
    """All that the only cell in `output` has measured and chosen, and its ranking; but for times."""
    (metrics,) = output.glob("*/metrics.json")
    content = json.loads(metrics.read_text(encoding="utf-8"))
    files = {name: metrics.with_name(name).read_text(encoding="utf-8") for name in ("ranking.csv", "selection.json")}
    return {name: value for name, value in content.items() if not name.startswith("seconds/")} | files


@pytest.fixture(scope="module")
def common(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A training of a second."""
    (review,) = write_reviews(tmp_path_factory.mktemp("reviews"), 1, size=20)
    model = [f"model.path={tiny_model_folder}", "model=minilm", "model.max_length=32"]
    data = ["data=table", f"data.path={review}", "task.shots=4"]
    return [
        *model,
        *data,
        "trainer=cpu",
        "trainer.threads=1",
        "task.max_steps=2",
        "task.learning_rate=0.01",
        "figures=few",
    ]


@pytest.fixture(scope="module")
def folders(common: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], Path]:
    """The output of each cell in a process of its own that shares nothing; and what one of them would have shared."""
    outputs = {name: tmp_path_factory.mktemp("alone") for name in CELLS}
    commands = [[*common, "logger=csv", *CELLS[name], f"output={outputs[name]}", "shared=null"] for name in CELLS]
    store = tmp_path_factory.mktemp("store")
    other = [*common, "logger=csv", *CELLS["lora"], f"output={tmp_path_factory.mktemp('other')}", f"shared={store}"]
    script = [sys.executable, "-c", FRESH, ROOT / "tests", json.dumps([*commands, other])]
    subprocess.run(script, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return outputs, store


@pytest.fixture(scope="module")
def expected(folders: tuple[dict[str, Path], Path]) -> dict[str, Cell]:
    """What each cell finds by itself."""
    return {name: result(output) for name, output in folders[0].items()}


@pytest.fixture
def filled(folders: tuple[dict[str, Path], Path], tmp_path: Path) -> Path:
    """A copy of what another process has shared after the cell `lora`."""
    return shutil.copytree(folders[1], tmp_path / "shared")


@pytest.fixture
def run(common: list[str], tmp_path: Path) -> Iterator[Callable[..., Cell]]:
    """Runs a cell in this process, whose prefix states start empty."""
    count = iter(range(100))

    def cell(name: str, store: Path) -> Cell:
        output = tmp_path / f"output{next(count)}"
        where = ["grid=one", f"output={output}", f"shared={store}"]
        assert here("train.py", *common, "logger=csv", *CELLS[name], *where) == 0
        return result(output)

    with patch.object(shared, "PREFIXES", PrefixMemory()):
        yield cell


def test_no_bit_changes(run: Callable[..., Cell], expected: dict[str, Cell], tmp_path: Path) -> None:
    """All cells in one process, in an order in which each leaves states to the next; nothing leaks into another."""
    differing = [name for name in [*CELLS, "lora"] if run(name, tmp_path / "shared") != expected[name]]
    assert differing == []


def test_another_process_spares_the_work(run: Callable[..., Cell], expected: dict[str, Cell], filled: Path) -> None:
    """Base vectors, scores, tokens and the references are read; nothing of them is computed or written."""
    before = {path: path.stat().st_mtime_ns for path in filled.rglob("*.safetensors")}
    assert sorted(path.parent.name for path in before) == ["references", "scores", "tokens", "vectors"]
    with (
        patch.object(CKA, "scores", side_effect=AssertionError("scored")),
        patch.object(shared.TokenizedTexts, "of", side_effect=AssertionError("tokenised")),
        patch.object(Nearest, "fit", side_effect=AssertionError("fitted")),
        patch.object(encode, "progress", wraps=encode.progress) as passes,
    ):
        for name in ("another budget", "lora"):
            found = run(name, filled)
            assert found == expected[name]
            assert list(found) == list(expected[name])  # tables have their columns in this order
    assert [call.args[1] for call in passes.call_args_list] == ["encoding, adapted"] * 2
    after = {path: path.stat().st_mtime_ns for path in filled.rglob("*.safetensors")}
    assert {path: when for path, when in after.items() if path in before} == before
    assert sorted(path.parent.name for path in after.keys() - before) == ["trainings"] * 2 + ["vectors"] * 2  # adapted


def test_scores_of_the_weights_are_shared_too(
    run: Callable[..., Cell], expected: dict[str, Cell], tmp_path: Path
) -> None:
    """Scores of the weights look at no text, and their singular values take long."""
    name = "scores of the weights"
    run(name, tmp_path / "shared")
    with patch.object(Spectrum, "scores", side_effect=AssertionError("scored")):
        assert run(name, tmp_path / "shared") == expected[name]


def _copies(path: Path) -> dict[str, Tensor]:
    """What a file holds, so that the file may be replaced."""
    return {name: value.clone() for name, value in load_file(path).items()}


def test_wrong_content_would_show(run: Callable[..., Cell], expected: dict[str, Cell], filled: Path) -> None:
    """The shared files are really what is read: changed, they change the numbers."""
    (vectors,) = filled.glob("vectors/*.safetensors")
    (scores,) = filled.glob("scores/*.safetensors")
    store._written(vectors, {"vectors": _copies(vectors)["vectors"].flip(0)})
    store._written(scores, {**(known := _copies(scores)), "values": known["values"].flip(0)})
    found = run("lora", filled)
    base = [name for name in found if name.startswith("base/")]
    assert {name: found[name] for name in base} != {name: expected["lora"][name] for name in base}
    assert found["selection.json"] != expected["lora"]["selection.json"]
