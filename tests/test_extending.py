"""The code that docs/extending.md shows runs as it is, from a folder of its own."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
FAST = ["trainer=cpu", "trainer.threads=1", "logger=csv", "figures=few", "task.max_steps=1", "model.max_length=16"]


def block(language: str) -> str:
    """The code of the only fenced block of that language."""
    (code,) = re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)
    return str(code)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder with the files of the page."""
    folder = tmp_path_factory.mktemp("own")
    for name, language in (("mypackage/my_score.py", "python"), ("conf/selection/my_score.yaml", "yaml")):
        assert f"`{name}`:" in PAGE
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(block(language), encoding="utf-8")
    return folder


def run(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """The page's command, from the user's folder."""
    words = shlex.split(block("bash"))
    assert words[:2] == ["python", "layersel/train.py"]
    return subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *words[2:], *FAST, *options],
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_score_chooses_layers(folder: Path) -> None:
    """Two layers by the power that was given."""
    process = run(folder)
    assert process.returncode == 0, process.stderr
    (cell,) = (folder / "runs").glob("ptsd-my_score2-seed0-*")
    selection = json.loads((cell / "selection.json").read_text())
    scores = selection["scores"]
    assert selection["layers"] == sorted(sorted(range(len(scores)), key=lambda layer: scores[layer])[-2:])
    assert json.loads((cell / "identity.json").read_text())["options"]["selection.power"] == 2


@pytest.mark.real
def test_an_edit_of_the_score_is_another_cell(folder: Path, tmp_path: Path) -> None:
    """A comment in the user's module is not."""
    own = shutil.copytree(folder, tmp_path / "own")
    assert run(own).returncode == 0
    module = own / "mypackage" / "my_score.py"
    module.write_text(module.read_text(encoding="utf-8") + "\n# a comment\n", encoding="utf-8")
    assert "finished before" in run(own).stdout
    module.write_text(module.read_text(encoding="utf-8").replace("(change", "(2 * change"), encoding="utf-8")
    assert "mypackage.my_score" in run(own).stdout  # other code
    assert len(list((own / "runs").glob("ptsd-my_score2-seed0-*"))) == 2


def test_a_wrong_option_is_one_line(folder: Path) -> None:
    """As of the package's own classes."""
    process = run(folder, "selection.power=-1")
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr == "error: selection.power: expected a number above 0, but got -1\n"


def test_files_that_are_named_exist() -> None:
    """Every path of the package in backquotes is there."""
    paths = [path for path in re.findall(r"`((?:layersel|conf|tests)/[^`\s]*)`", PAGE) if "NAME" not in path]
    own = {"layersel/train.py", "conf/selection/my_score.yaml"}
    assert [path for path in paths if path not in own and not (ROOT / path).exists()] == []
