"""A cell that other code computed is another cell, unless that is accepted: shown on an edited copy of the code."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMON = ["model=minilm", "model.max_length=16", "task.max_steps=2", "selection.n=1", "logger=csv", "trainer=cpu"]
COMMON += ["trainer.threads=1", "figures=few"]
SELECTIONS = {"cka": ["selection.bootstrap=2", "selection.probe_size=8"], "last": []}
BEFORE = "This cell has finished before"


class Checkout:
    """A copy of the code, and cells that it runs."""

    def __init__(self, folder: Path, model: Path):
        self.folder = folder
        self.command = [*COMMON, f"model.path={model}", f"output={folder / 'runs'}"]
        for name in ("layersel", "conf", "hydra_plugins"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "train.py", folder)

    def edit(self, file: str, old: str, new: str) -> None:
        """Changes a file of the copy."""
        path = self.folder / "layersel" / file
        text = path.read_text(encoding="utf-8")
        assert text.count(old) >= 1, f"{file} has no {old!r}"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    def python(self, *arguments: str) -> str:
        """What Python prints, given the copy."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def cell(self, selection: str, *more: str) -> str:
        """What the cell of a score prints."""
        return self.python("train.py", *self.command, f"selection={selection}", *SELECTIONS[selection], *more)


@pytest.fixture(scope="module")
def checkout(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy with a finished cell of each score."""
    made = Checkout(tmp_path_factory.mktemp("checkout"), tiny_model_folder)
    for selection in SELECTIONS:
        assert BEFORE not in made.cell(selection)
    return made


@pytest.fixture
def code(checkout: Checkout) -> Iterator[Checkout]:
    """The copy, which is as it was after the test."""
    yield checkout
    shutil.rmtree(checkout.folder / "layersel")
    shutil.copytree(ROOT / "layersel", checkout.folder / "layersel", ignore=shutil.ignore_patterns("__pycache__"))


FIND = """
import json, sys
from hydra import compose, initialize_config_dir
from layersel.cell.finding import Finder
from layersel.config import CONF
with initialize_config_dir(str(CONF), version_base="1.3"):
    cells = {name: Finder().find(compose("train", arguments)) for name, arguments in json.loads(sys.argv[1]).items()}
print(json.dumps({name: [cell.finished, cell.differing] for name, cell in cells.items()}))
"""


def found(code: Checkout) -> dict[str, list[object]]:
    """For each score whether its cell has finished, and in which modules the code of a finished one differs."""
    commands = {name: [*code.command, f"selection={name}", *own] for name, own in SELECTIONS.items()}
    return dict(json.loads(code.python("-c", FIND, json.dumps(commands))))


SIMILARITY = ("selection/measures/similarity.py", "    n = len(k_NN)\n", "    n = 1 * len(k_NN)\n")


@pytest.mark.parametrize(
    ("edit", "differing"),
    [
        (SIMILARITY, {"cka": ["layersel.selection.measures.similarity"], "last": []}),
        (
            ("selection/scores/last.py", "torch.arange(", "1 * torch.arange("),
            {"cka": [], "last": ["layersel.selection.scores.last"]},
        ),
        (
            ("tasks/screening/losses/pairwise.py", "return similarity_P", "return 1 * similarity_P"),
            {name: ["layersel.tasks.screening.losses.pairwise"] for name in SELECTIONS},
        ),
        (
            ("selection/measures/similarity.py", "    n = len(k_NN)\n", "    n = len(k_NN)  # how many\n"),
            {"cka": [], "last": []},
        ),
        (("merging/methods/ties.py", "0.2", "0.3"), {"cka": [], "last": []}),
        (("terminal/tables.py", "title_justify", "title_justify"), {"cka": [], "last": []}),
        (("sweep/averages.py", "SEED = 0", "SEED = 1"), {"cka": [], "last": []}),
    ],
    ids=[
        "a helper of one score",
        "the other score",
        "the loss",
        "a comment",
        "a merge method",
        "a table",
        "the report",
    ],
)
def test_an_edit_makes_the_cells_run_again_that_it_computes(
    code: Checkout, edit: tuple[str, str, str], differing: dict[str, list[str]]
) -> None:
    """And no others."""
    code.edit(*edit)
    assert found(code) == {name: [not modules, modules] for name, modules in differing.items()}


def test_other_code_is_told_and_accepted(code: Checkout) -> None:
    """The cell says which file differs and runs again; with other_code=accept its former results are taken."""
    code.edit(*SIMILARITY)
    assert BEFORE in code.cell("cka", "other_code=accept")
    said = code.cell("cka")
    assert BEFORE not in said
    assert "(layersel.selection.measures.similarity differ); other_code=accept takes it as it is" in " ".join(
        said.split()
    )
    assert found(code)["cka"] == [True, []]


@pytest.mark.real
def test_scores_of_other_code_are_not_shared(code: Checkout) -> None:
    """What cells share is kept by the code that computed it, too."""
    kept = set((code.folder / "runs" / "shared" / "scores").glob("*.safetensors"))
    code.edit("selection/measures/similarity.py", "x_ND - x_ND.mean(0)", "1 * x_ND - x_ND.mean(0)")
    code.cell("cka")
    assert len(set((code.folder / "runs" / "shared" / "scores").glob("*.safetensors")) - kept) == 1
