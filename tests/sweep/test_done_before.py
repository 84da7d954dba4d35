"""Before jobs are submitted: which of their cells have ended is found without running anything."""

import re
import shutil
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from in_process import here
from omegaconf import DictConfig
from small_reviews import write_reviews

from layersel.cell.finding import Finder
from layersel.config import CONF
from layersel.sweep.grid import Grid, Job, Outcome
from layersel.sweep.job import done_before

JOB = Job.of(0, ["seed=0"], ["seed=0,1"])


@pytest.fixture(scope="module")
def options(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Of a cell that has finished."""
    (dataset,) = write_reviews(tmp_path_factory.mktemp("datasets"), 1, size=20)
    model = ["model=minilm", f"model.path={tiny_model_folder}", "model.max_length=16", "logger=csv", "trainer=cpu"]
    cell = ["data=table", f"data.path={dataset}", "selection=last", "selection.n=1", "task.max_steps=1", "figures=few"]
    chosen = [*model, *cell, f"output={tmp_path_factory.mktemp('runs')}"]
    assert here("train.py", *chosen) == 0
    return chosen


def composed(arguments: list[str]) -> DictConfig:
    """The config of a command line, as a launcher has it."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", arguments, return_hydra_config=True)


def asked(arguments: list[str], grid: Grid) -> Outcome | None:
    """Of a cell."""
    return done_before(grid, JOB, composed(arguments), Finder())


@pytest.mark.parametrize("more", ["trainer=gpu", "trainer.devices=64", "logger=wandb", "retry=true"])
def test_a_finished_cell_is_found(more: str, options: list[str]) -> None:
    """Also where this machine could not run it; the outcome is that of a job that finds it finished, and recorded."""
    output = Path(options[-1].removeprefix("output="))
    (metrics,) = output.glob("*/metrics.json")
    grid = Grid(output, "grid")
    outcome = asked([*options, more], grid)
    assert outcome is not None
    assert (outcome.state, outcome.reused, outcome.cell) == ("finished", True, metrics.parent.name)
    assert grid.cell_of(JOB).path == metrics.parent  # type: ignore[union-attr]


def test_a_failed_cell_waits_for_retry(options: list[str], tmp_path: Path) -> None:
    """A job would say the same, when the queue comes to it."""
    broken = [*options, "task.warmup=0", "task.learning_rate=1e30", "task.max_steps=null", f"output={tmp_path}"]
    assert here("train.py", *broken) == 2
    outcome = asked(broken, Grid(tmp_path, "grid"))
    assert outcome is not None
    assert (outcome.state, outcome.reused, outcome.value) == ("failed", False, None)
    assert re.search(r"has failed before \(training: the loss is nan .*retry=true runs it again", outcome.error or "")
    assert asked([*broken, "retry=true"], Grid(tmp_path, "grid")) is None


def test_a_damaged_cell_is_left_to_its_job(options: list[str], tmp_path: Path) -> None:
    """Which says so; neither the search for it nor that for another seed stops."""
    output = tmp_path / "runs"
    shutil.copytree(options[-1].removeprefix("output="), output)
    own = [*options, f"output={output}"]
    grid = Grid(output, "grid")
    assert asked(own, grid) is not None
    (status,) = output.glob("*/status.json")
    status.write_text("{")
    assert asked(own, grid) is None
    assert asked([*own, "seed=1"], grid) is None


@pytest.mark.parametrize(
    "more",
    [
        ["force=true"],
        ["seed=1"],
        ["data.path=none.csv"],
        ["task.epochs=-1"],
        ["merging=average", "merging.datasets=[a,b]"],
        ["task.shots=${oc.env:NO_SUCH_VARIABLE}"],
    ],
    ids=lambda more: more[0],
)
def test_any_other_is_left_to_its_job(more: list[str], options: list[str]) -> None:
    """One that must run, that is wrong, or that depends on others."""
    assert asked([*options, *more], Grid(Path("unused"), "grid")) is None
