"""In a grid, an option can be set that all swept choices have, whether the default choice has it or not."""

import re
import sys
from pathlib import Path

import pytest
from hydra.errors import ConfigCompositionException
from omegaconf import DictConfig

from layersel import cli
from layersel.errors import UserError
from layersel.terminal.grid_options import left_to_cells

GLOBAL = "# @package _global_\n"
FILES = {
    "conf/train": "defaults: [_self_, score: last, model: plain, experiment: null, override hydra/job_logging: none]\n"
    "hydra: {output_subdir: null, run: {dir: .}, sweep: {dir: ., subdir: .}}\n"
    "seed: 0",
    "conf/score/last": "n: 1",
    "conf/score/cka": "{n: 1, kernel: linear}",
    "conf/score/rsa": "{n: 2, kernel: linear, runs: []}",
    "conf/score/learnt": "{defaults: [_self_, loss: pairs], n: 3}",
    "conf/score/trained": "{defaults: [_self_, loss: pairs], n: 4}",
    "conf/score/loss/pairs": "margin: 1",
    "conf/score/loss/pu": "{margin: 1, prior: 0.5}",
    "conf/score/loss/supcon": "{margin: 2, prior: 0.1}",
    "conf/model/plain": "width: 1",
    "conf/model/wide": "{width: 2, heads: 1}",
    "conf/model/wider": "{width: 3, heads: 1}",
    "conf/experiment/one": GLOBAL + "seed: 3",
    "conf/experiment/wide": GLOBAL + "defaults: [override /model: wide]",
    "conf/experiment/wider": GLOBAL + "defaults: [override /model: wider]",
    "conf/experiment/grid": GLOBAL + "hydra: {mode: MULTIRUN, sweeper: {params: {score: 'cka,rsa'}}}",
    "mine/score/own": "{n: 5, kernel: linear}",
}


@pytest.fixture(autouse=True)
def _conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small conf/ in the place of the package's, and a choice of the user's in mine/."""
    for name, content in FILES.items():
        file = tmp_path / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    for module in ("layersel.config", "layersel.terminal.grid_options"):
        monkeypatch.setattr(f"{module}.CONF", tmp_path / "conf")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.chdir(tmp_path)


def left(command: str) -> str:
    """The command line with which Hydra is called again when it has refused the last option."""
    name = command.rsplit(maxsplit=1)[-1].partition("=")[0]
    return " ".join(
        left_to_cells("train", command.split(), ConfigCompositionException(f"Could not override '{name}'."))
    )


def test_the_cells_have_an_option_of_all_swept_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an experiment's grid too, which is no grid for Hydra as long as it refuses an option."""
    cells: list[DictConfig] = []
    command = "experiment=grid model=choice(wide) score.kernel='a,b' model.heads=.5"
    monkeypatch.setattr(sys, "argv", ["train.py", *command.split()])
    cli._compose_and_run("train", cells.append)
    assert [cell.score.n for cell in cells] == [1, 2]
    assert {(cell.score.kernel, cell.model.width, cell.model.heads) for cell in cells} == {("a,b", 2, 0.5)}


@pytest.mark.parametrize(
    ("command", "again"),
    [
        ("-m score=cka,rsa score.kernel=rbf", "-m score=cka,rsa score.kernel=choice(rbf)"),
        (
            "-m --config-dir=mine score=rsa,own seed=1 score.kernel=rbf",
            "-m --config-dir=mine score=rsa,own seed=1 score.kernel=choice(rbf)",
        ),
        (
            "-m score=choice(rsa) score.n=.5 score.kernel= score.runs=[A,'B,C']",
            "-m score=choice(rsa) score.n=choice(0.5) score.kernel=choice('') score.runs=choice([A,'B,C'])",
        ),
        (
            "-m score=learnt score/loss=pu,supcon score.loss.prior=.2",
            "-m score=learnt score/loss=pu,supcon score.loss.prior=choice(0.2)",
        ),
        (
            "-m score=learnt,trained score/loss=pu score.loss.prior=.2",
            "-m score=learnt,trained score/loss=choice(pu) score.loss.prior=choice(0.2)",
        ),
        ("-m experiment=wide,wider seed=2 model.heads=2", "-m experiment=wide,wider seed=2 model.heads=choice(2)"),
        ("-m experiment=grid score.kernel=rbf", "-m experiment=grid score.kernel=choice(rbf)"),
    ],
)
def test_an_option_of_all_swept_choices_is_left_to_the_cells(command: str, again: str) -> None:
    """With its neighbours, whatever the value is and wherever the choices are swept."""
    assert left(command) == again


@pytest.mark.parametrize(
    ("command", "without"),
    [
        ("-m score=cka,last score.kernel=rbf", ["score.kernel: .* not one of score=last"]),
        ("-m score=last,cka score.n=2 seed=0,1 score.kernel=rbf,linear", ["score.kernel: .* not one of score=last"]),
        ("-m score=last,rsa,cka score.runs=[A]", ["score.runs: .* not one of score=last, score=cka"]),
        (
            "-m score=rsa,cka,learnt score.kernel=rbf score.runs=[A]",
            ["score.runs: .* not one of score=cka", "score.kernel: .* not one of score=learnt"],
        ),
        (
            "-m score=learnt score/loss=pu,pairs score.loss.prior=1",
            ["score.loss.prior: .* not one of score/loss=pairs"],
        ),
        ("-m score=learnt,cka score/loss=pu", ["score/loss: .* not one of score=cka"]),
        ("-m experiment=wide,one model.heads=2", ["model.heads: .* not one of experiment=one"]),
        ("-m experiment=grid score.runs=[A]", ["score.runs: .* not one of score=cka"]),
    ],
)
def test_an_option_that_a_swept_choice_lacks(command: str, without: list[str]) -> None:
    """Is refused before any cell, in a line that names the choices without it."""
    with pytest.raises(UserError) as refused:
        left(command)
    for line, pattern in zip(str(refused.value).splitlines(), without, strict=True):
        assert re.fullmatch(f"{pattern}; run the choices one by one", line)


@pytest.mark.parametrize(
    "command",
    [
        "-m score=cka,rsa score.kernl=rbf",
        "-m score=cka,rsa score.kernl=rbf,linear",
        "-m score=cka,rsa model.heads=2",
        "-m experiment=grid score.kernl=rbf",
        "experiment=one score.kernel=rbf",
        "score.kernel=rbf",
        "--cfg=job experiment=grid score.kernel=rbf",
    ],
)
def test_an_option_that_no_choice_has(command: str) -> None:
    """Is refused as Hydra did."""
    with pytest.raises(ConfigCompositionException, match=r"^Could not override '(score\.kern|model\.heads)"):
        left(command)
