"""A person is answered at once: help, mistakes and --cfg load no library that only the work needs."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from layersel.config import CONF

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "numpy", "lightning", "transformers", "peft", "pandas", "scipy", "sklearn", "wandb", "torchmetrics")
LOADED = f"""
import atexit, json, runpy, sys
atexit.register(lambda: sys.stderr.write("\\nloaded " + json.dumps([name for name in {HEAVY} if name in sys.modules])))
sys.argv = sys.argv[1:]
sys.path.insert(0, {str(ROOT)!r})
runpy.run_path({str(ROOT)!r} + "/" + sys.argv[0], run_name="__main__")
"""
"""Runs a script as `python SCRIPT` does, and says at the end which heavy libraries were imported."""


@dataclass(frozen=True)
class Answer:
    """What a command line gives.

    Attributes:
        status: The exit status.
        out: Standard output.
        errors: The lines on standard error.
        loaded: The heavy libraries that were imported.
    """

    status: int
    out: str
    errors: list[str]
    loaded: list[str]


def answer(script: str, *arguments: str, folder: Path) -> Answer:
    """Runs a script in a process of its own, in `folder`."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, script, *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    errors, _, loaded = done.stderr.rpartition("\nloaded ")
    lines = [line for line in errors.splitlines() if line.strip()]
    return Answer(done.returncode, done.stdout, lines, json.loads(loaded))


@dataclass(frozen=True)
class Keystroke:
    """A command line that needs no work.

    Attributes:
        script: The entry script.
        arguments: Its arguments.
        says: A pattern that its one line on standard error matches; without it, standard output is the answer.
    """

    script: str
    arguments: list[str] = field(default_factory=list)
    says: str = ""


KEYSTROKES = {
    "train --help": Keystroke("train.py", ["--help"]),
    "evaluate --help": Keystroke("evaluate.py", ["--help"]),
    "train --cfg job": Keystroke("train.py", ["--cfg", "job"]),
    "wrong option": Keystroke("train.py", ["selection.kernl=rbf"], r"selection\.kernl: unknown option; expected one"),
    "former option": Keystroke("train.py", ["data.shots=4"], r"data\.shots: it is task\.shots now"),
    "wrong choice": Keystroke(
        "train.py", ["selection=ckaa"], r"selection=ckaa: no such option; expected one of .*all, "
    ),
    "wrong group": Keystroke("train.py", ["selektion=cka"], r"selektion: unknown option; expected one of adapter, "),
    "wrong value": Keystroke("train.py", ["adapter.rank=0"], r"adapter\.rank: expected at least 1, but got 0"),
    "wrong type": Keystroke("train.py", ["task.shots=few"], r"task\.shots: expected int or null, but got 'few'"),
    "an empty name": Keystroke("train.py", ["output="], r"output: expected the name of a folder, but got none"),
    "wrong value within a group": Keystroke(
        "train.py", ["task.loss.pairs.per_record=0"], r"task\.loss\.pairs\.per_record: expected at least 1, but got 0"
    ),
    "options that do not fit together": Keystroke(
        "train.py", ["order=[train,quantise]", "pruning=wanda"], r"order: pruning=wanda needs the step prune"
    ),
    "evaluate: wrong option": Keystroke("evaluate.py", ["runn=x"], r"runn: unknown option; expected one of"),
    "evaluate: nothing given": Keystroke("evaluate.py", [], r"run, model: expected one of them, but got none"),
}


@pytest.mark.parametrize("keystroke", KEYSTROKES.values(), ids=KEYSTROKES)
def test_answers_at_once(keystroke: Keystroke, tmp_path: Path) -> None:
    """Help on standard output, a mistake in one line; nothing heavy is imported and nothing is written."""
    found = answer(keystroke.script, *keystroke.arguments, folder=tmp_path)
    assert found.loaded == []
    assert found.status == (2 if keystroke.says else 0), found
    if keystroke.says:
        assert re.match(f"error: {keystroke.says}", found.errors[0]), found.errors
        assert all(line.startswith("error: ") for line in found.errors), found.errors
        assert found.out == ""
    else:
        assert found.errors == []
        assert len(found.out.splitlines()) > 30
    assert not list(tmp_path.rglob("metrics.json"))


def test_a_finished_cell_answers_at_once(tiny_model_folder: Path, tmp_path: Path) -> None:
    """What it is shows from the options, the data and the code; its results are read."""
    options = ["model=minilm", f"model.path={tiny_model_folder}", "model.max_length=16", "task.max_steps=1"]
    options += ["selection=last", "logger=csv", "figures=few", "trainer=cpu", f"output={tmp_path}"]
    first = answer("train.py", *options, folder=tmp_path)
    assert (first.status, first.errors) == (0, [])
    assert "torch" in first.loaded
    again = answer("train.py", *options, folder=tmp_path)
    assert (again.status, again.errors, again.loaded) == (0, [], [])
    assert "This cell has finished before" in again.out
    assert "awss@95" in again.out


def test_classes_of_the_users_own_are_found(tmp_path: Path) -> None:
    """`_target_` may name a module in the working directory; its problems are those of any option."""
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\n"
        "from layersel.selection.scores.last import Last\n\n"
        "@dataclass\n"
        "class MyScore(Last):\n"
        '    """A score."""\n'
        "    def problems(self):\n"
        '        return ["selection: it is mine"]\n',
        encoding="utf-8",
    )
    found = answer("train.py", "selection=last", "selection._target_=mine.MyScore", folder=tmp_path)
    assert (found.status, found.errors, found.loaded) == (2, ["error: selection: it is mine"], [])


TARGETS = sorted(
    {str(OmegaConf.load(path)["_target_"]) for path in CONF.glob("*/**/*.yaml") if "_target_" in OmegaConf.load(path)}
)


def test_every_options_class_is_light() -> None:
    """Each class that a file of conf/ names, with all that its module imports."""
    code = (
        "import importlib, json, sys\n"
        "loaded = {}\n"
        f"for target in {[target for target in TARGETS if target.startswith('layersel.')]}:\n"
        "    before = set(sys.modules)\n"
        "    importlib.import_module(target.rpartition('.')[0])\n"
        f"    loaded[target] = [name for name in {HEAVY} if name in set(sys.modules) - before]\n"
        "print(json.dumps(loaded))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {target: names for target, names in json.loads(done.stdout).items() if names} == {}
