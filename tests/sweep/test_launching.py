"""What launchers do before and beside the cells: names, estimates, resources, the code that a queued job runs."""

import json
import os
import signal
import sys
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cell_folders import seal
from omegaconf import OmegaConf

from hydra_plugins.layersel_launchers.local import LocalLauncher
from layersel.callbacks.waiting_signals import WaitingSignals
from layersel.errors import UserError
from layersel.files import read_sealed
from layersel.runs.folder import FINISHED, INTERRUPTED
from layersel.sweep.estimate import estimate
from layersel.sweep.grid import Grid, Job, Outcome, grid_name, source_fingerprint, tally
from layersel.sweep.launch import Sweep
from layersel.sweep.local import Pool, Resources, Worker
from layersel.sweep.worker import Order
from layersel.terminal.interrupts import forget_interrupts


class Direction(Enum):
    """As Optuna's plugin of Hydra has it."""

    minimize = 1
    maximize = 2


COMMAND_LINE = ["model=minilm", "seed=0,1"]
JOBS = [Job.of(seed, ["model=minilm", f"seed={seed}"], COMMAND_LINE) for seed in (0, 1)]
NSAIDS, ADHD = {"dataset": "NSAIDS"}, {"dataset": "ADHD"}
SMALL, LARGE = {"path": "small"}, {"path": "large"}


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    """A grid of two jobs that has not run."""
    made = Grid(tmp_path, "a grid")
    made.open(COMMAND_LINE, JOBS)
    return made


def finished(output: Path, name: str, seconds: float, data: dict[str, str], model: dict[str, str]) -> None:
    """A cell's folder."""
    folder = output / name
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps({"seconds/total": seconds}))
    (folder / "identity.json").write_text(json.dumps({"data": data, "model": model}))
    seal(folder)


@pytest.mark.parametrize(
    ("more", "same"),
    [
        (
            ["retry=true", "force=true", "other_code=accept", "logger.mode=offline", "trainer=cpu", "output=elsewhere"],
            True,
        ),
        (["hydra/launcher=slurm", "hydra.launcher.partition=gpu", "shared=null"], True),
        (["task.epochs=3"], False),
        (["+selection.foo=1"], False),
    ],
)
def test_a_grid_without_a_name_has_that_of_its_axes(more: list[str], same: bool) -> None:
    """Wherever it runs, however it is logged, and in whatever order the options are given."""
    assert (grid_name([*more, *COMMAND_LINE[::-1]], None) == grid_name(COMMAND_LINE, None)) is same
    assert grid_name(COMMAND_LINE, "budget").startswith("budget-")


def test_a_record_is_of_its_job(grid: Grid) -> None:
    """With other options under the same number, what the earlier job did is forgotten."""
    grid.record(Outcome(JOBS[0], FINISHED, "cell0"))
    grid.record(Outcome(JOBS[1], FINISHED, "cell1"))
    other = Job.of(1, ["seed=7"], COMMAND_LINE)
    grid.open(COMMAND_LINE, [JOBS[0], other])
    retried = Job.of(0, ["retry=true", *JOBS[0].overrides], COMMAND_LINE)
    found = [grid.cell_of(job) for job in (JOBS[0], retried, JOBS[1], other)]
    assert [None if folder is None else folder.path.name for folder in found] == ["cell0", "cell0", None, None]


def test_an_interrupted_job_keeps_its_cell(grid: Grid) -> None:
    """Its process had recorded which one it runs."""
    grid.record(Outcome(JOBS[0], "running", "cell0"))
    assert grid.record_interrupted(JOBS[0], "killed") == Outcome(JOBS[0], INTERRUPTED, "cell0", "killed")
    assert grid.record_interrupted(JOBS[1], "killed").cell is None
    assert read_sealed(grid.folder / "jobs" / "0.json") == {
        "num": 0,
        "overrides": ["model=minilm", "seed=0"],
        "state": "interrupted",
        "cell": "cell0",
        "error": "killed",
        "reused": False,
        "value": None,
        "title": None,
        "higher_is_better": True,
        "crashed": False,
    }


def estimated(output: Path, data: dict[str, str], model: dict[str, str], workers: int = 1, left: int = 2) -> str | None:
    """The estimate for some jobs on that dataset and model."""
    config: Any = OmegaConf.create({"data": data, "model": model})
    return estimate(output, [config] * left, workers)


def test_the_time_is_estimated_by_cells_like_these(tmp_path: Path) -> None:
    """The median of those with the same dataset and model, else of all; for each worker its share."""
    assert estimated(tmp_path, NSAIDS, SMALL) is None
    for number, (seconds, data, model) in enumerate(
        [(10, NSAIDS, SMALL), (20, NSAIDS, SMALL), (900, NSAIDS, SMALL), (50, ADHD, SMALL), (1000, NSAIDS, LARGE)]
    ):
        finished(tmp_path, f"cell{number}", seconds, data, model)
    assert estimated(tmp_path, NSAIDS, SMALL) == "about 40 s to go, by the 5 cells that ran before"
    assert estimated(tmp_path, NSAIDS, LARGE) == "about 33 min to go, by the 5 cells that ran before"
    assert estimated(tmp_path, ADHD, LARGE) == "about 100 s to go, by the 5 cells that ran before", "of all it is 50"
    assert estimated(tmp_path, NSAIDS, SMALL, workers=2) == "about 20 s to go, by the 5 cells that ran before"
    assert estimated(tmp_path, NSAIDS, SMALL, left=1) == "about 20 s to go, by the 5 cells that ran before"


def test_the_tally_counts_each_once() -> None:
    """What had finished before, what finished now, what did not."""
    states = [("finished", True), ("finished", False), ("finished", False), ("failed", False), ("running", False)]
    outcomes = [Outcome(JOBS[0], state, reused=reused) for state, reused in states]
    assert tally(outcomes) == "5 cells: 1 had finished before, 2 finished now, 1 failed, 1 interrupted"
    assert tally(outcomes[:1]) == "1 cell: 1 had finished before"


def test_gpus_and_threads_are_dealt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """GPUs evenly, of those that this process may use; an even share of the cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(9)), raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,7")
    launcher = LocalLauncher(workers=4, threads=None, gpus=2)
    resources = Resources(4, launcher._threads(), launcher._gpus())
    dealt = [resources.environment(slot) for slot in range(4)]
    assert [own["CUDA_VISIBLE_DEVICES"] for own in dealt] == ["3", "5", "3", "5"]
    assert {own["OMP_NUM_THREADS"] for own in dealt} == {"2"}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert LocalLauncher(workers=1, threads=None, gpus=2)._gpus() == ["0", "1"]
    alone = LocalLauncher(workers=1, threads=None, gpus=None)
    assert Resources(1, alone._threads(), alone._gpus()).environment(0) == {}


@pytest.mark.parametrize(
    ("workers", "gpus", "own"),
    [
        (2, ["0", "1", "2", "3"], ["0,2", "1,3"]),  # for cells with trainer.devices=2
        (2, ["5", "6", "7"], ["5,7", "6"]),
        (3, ["5", "6"], ["5", "6", "5"]),
        (1, ["0", "1"], ["0,1"]),
    ],
)
def test_a_worker_has_its_own_gpus_where_there_are_enough(workers: int, gpus: list[str], own: list[str]) -> None:
    """No GPU is idle, and two workers share one only if there are fewer than workers."""
    resources = Resources(workers, None, gpus)
    assert [resources.environment(slot)["CUDA_VISIBLE_DEVICES"] for slot in range(workers)] == own


def test_no_gpus_cannot_be_dealt_out() -> None:
    """Null leaves them to all; zero is a mistake."""
    with pytest.raises(UserError, match=r"hydra\.launcher\.gpus: expected at least 1 or null, but got 0"):
        LocalLauncher(workers=1, threads=None, gpus=0)._gpus()


@pytest.mark.parametrize("wrong", [{"workers": "a"}, {"workers": None}, {"threads": 1.5}, {"gpus": "all"}])
def test_resources_that_are_no_numbers(wrong: dict[str, Any]) -> None:
    """Are refused in a line that names the option."""
    launcher = LocalLauncher(**{"workers": 2, "threads": None, "gpus": None, **wrong})
    (name,) = wrong
    with pytest.raises(UserError, match=rf"^hydra\.launcher\.{name}: expected a whole number, but got "):
        launcher.launch([["seed=0"]], 0)


@pytest.mark.parametrize("wrong", [{"workers": 0, "threads": 1}, {"workers": 1, "threads": 0}])
def test_resources_that_make_no_sense(wrong: dict[str, int]) -> None:
    """Are refused before anything starts."""
    with pytest.raises(UserError, match=r"hydra\.launcher\.(workers|threads): expected at least 1, but got 0"):
        Resources(**wrong).check()


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The signals that would be sent, by process."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    return sent


def busy_worker(pid: int = 7) -> Worker:
    """A worker of no process that was given a job."""
    worker = Worker(SimpleNamespace(pid=pid), SimpleNamespace(send=lambda order: None), 0)  # type: ignore[arg-type]
    worker.give(Order(JOBS[0], OmegaConf.create(), wait=False, log=None))
    return worker


def test_an_interrupt_waits_until_the_job_has_begun(signals: list[tuple[int, int]]) -> None:
    """Before, it would end the process; it is sent once, and not to the job that the worker is given next."""
    worker = busy_worker()
    worker.stop = True
    worker.interrupt()
    assert signals == []
    worker.begun = True
    worker.interrupt()
    worker.interrupt()
    assert signals == [(7, signal.SIGINT)]
    worker.stop = True
    worker.give(Order(JOBS[1], OmegaConf.create(), wait=False, log=None))
    worker.begun = True
    worker.interrupt()
    assert signals == [(7, signal.SIGINT)]


def test_a_worker_that_still_imports_is_not_waited_for(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the grid is ended its process is killed, and its cell, which it has not touched, is reported."""
    calls: list[str] = []
    outcomes: list[Outcome] = []
    process = SimpleNamespace(kill=lambda: calls.append("kill"), join=lambda: calls.append("join"))
    connection = SimpleNamespace(send=lambda order: None, poll=lambda: False)
    worker = Worker(process, connection, 0)  # type: ignore[arg-type]
    worker.give(Order(JOBS[0], OmegaConf.create(), wait=False, log=None))
    pool = Pool(grid, None, Resources(1, None), outcomes.append, _workers=[worker])  # type: ignore[arg-type]
    monkeypatch.setattr(pool, "_take_in", lambda: pytest.fail("waits"))
    pool.close()
    assert calls == ["kill", "join"]
    assert [(outcome.state, outcome.error) for outcome in outcomes] == [
        (INTERRUPTED, "it was interrupted before it began")
    ]


def sweep_of(output: Path, overrides: list[str]) -> Sweep:
    """A sweep that was called with these overrides."""
    hydra = {"overrides": {"task": overrides}, "runtime": {"choices": {}}, "sweeper": {}}
    task = {"_target_": "layersel.tasks.screening.options.Screening"}
    return Sweep(OmegaConf.create({"output": str(output), "grid": None, "task": task, "hydra": hydra}), None)  # type: ignore[arg-type]


def test_a_grid_without_cells_is_refused(tmp_path: Path) -> None:
    """In a line that names the axis without values; nothing is written."""
    with pytest.raises(UserError, match=r"^-m: expected at least one cell, but seed=range\(1,1\) gives no value"):
        sweep_of(tmp_path, ["model=minilm", "seed=range(1,1)"]).add([], 0, 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("task", "direction", "refused"),
    [
        (
            "layersel.tasks.causal_lm.options.CausalLM",
            "maximize",
            "expected minimize, as less of held-out loss is better",
        ),
        ("layersel.tasks.causal_lm.options.CausalLM", "minimize", None),
        ("layersel.tasks.causal_lm.options.CausalLM", Direction.minimize, None),
        ("layersel.tasks.causal_lm.options.CausalLM", ["minimize"], None),
        ("no.such.task", None, None),  # the cells say so
        ("layersel.tasks.screening.options.Screening", "minimize", "expected maximize, as more of AWSS@95 is better"),
        ("layersel.tasks.screening.options.Screening", None, None),
        ("layersel.tasks.classification.options.Classification", "minimize", None),  # the dataset decides
    ],
)
def test_a_search_looks_at_the_right_end_of_the_metric(
    task: str, direction: object, refused: str | None, tmp_path: Path
) -> None:
    """The sweeper's direction is checked before anything runs, where the task has one metric."""
    hydra = {"overrides": {"task": []}, "runtime": {"choices": {}}, "sweeper": {"direction": direction}}
    config = OmegaConf.create({"output": str(tmp_path), "grid": "g", "task": {"_target_": task}, "hydra": hydra})
    if refused is None:
        Sweep(config, None)  # type: ignore[arg-type]
    else:
        with pytest.raises(UserError, match=rf"^hydra\.sweeper\.direction: {refused}, but got {direction}$"):
            Sweep(config, None)  # type: ignore[arg-type]


def test_a_search_is_told_of_its_direction_by_the_first_cell(grid: Grid, tmp_path: Path) -> None:
    """Where the dataset decides the metric."""
    sweeper = {"_target_": "optuna", "direction": "maximize"}
    task = {"_target_": "layersel.tasks.classification.options.Classification"}
    hydra = {"overrides": {"task": []}, "runtime": {"choices": {}}, "sweeper": sweeper}
    sweep = Sweep(OmegaConf.create({"output": str(tmp_path), "grid": "g", "task": task, "hydra": hydra}), None)  # type: ignore[arg-type]
    sweep.outcomes[JOBS[0].num] = Outcome(JOBS[0], FINISHED, value=0.5, title="RMSE", higher_is_better=False)
    with pytest.raises(UserError, match="expected minimize, as less of RMSE is better, but got maximize"):
        sweep.returns([JOBS[0]])


def test_an_option_may_name_a_swept_one(tmp_path: Path) -> None:
    """The option is kept as it was typed, not with the value that the other one has before the sweep."""
    typed = ["data.review=a,b", "data.protocol=${data.review}.txt"]
    assert sweep_of(tmp_path, typed).overrides == typed


def test_an_axis_of_one_value_is_none(tmp_path: Path) -> None:
    """The grid has the name and its cells the titles that they would have without it."""
    plain, left = (
        sweep_of(tmp_path, ["seed=0,1", f"selection.{own}"]) for own in ("variance=0.9", "variance=choice(.9)")
    )
    assert left.grid.name == plain.grid.name
    assert Job.of(0, ["seed=0", "selection.variance=0.9"], left.overrides).title == "seed=0"


def test_the_time_is_told_when_the_first_cell_has_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Once, as was promised at the beginning; what is interrupted is not called so twice."""
    sweep = sweep_of(tmp_path, ["seed=0,1,2,3"])
    sweep.jobs = [Job.of(seed, [f"seed={seed}"], ["seed=0,1,2,3"]) for seed in range(4)]
    sweep.left = dict.fromkeys(sweep.jobs, OmegaConf.create({"data": NSAIDS, "model": SMALL}))
    sweep.report(Outcome(sweep.jobs[0], INTERRUPTED))
    finished(tmp_path, "cell", 60, NSAIDS, SMALL)
    sweep.report(Outcome(sweep.jobs[1], FINISHED, "cell", value=0.5, title="RMSE"))
    sweep.report(Outcome(sweep.jobs[2], FINISHED, "cell", value=0.5, title="RMSE"))
    assert capsys.readouterr().out.splitlines() == [
        "[1/4] seed=0: interrupted",
        "[2/4] seed=1: finished, RMSE 0.500; about 2 min to go, by the 1 cell that ran before",
        "[3/4] seed=2: finished, RMSE 0.500",
    ]


def test_a_queued_job_does_not_run_other_code(grid: Grid) -> None:
    """Code that has changed since the submission would give a table of two minds."""
    slurm = pytest.importorskip("layersel.sweep.slurm")
    job = slurm.SlurmJob(grid, JOBS[0], OmegaConf.create(), None, "another hash")
    outcome = job()
    assert outcome.state == INTERRUPTED
    assert "code has changed since the submission" in outcome.error
    assert source_fingerprint() == source_fingerprint() != "another hash"


def test_a_preemption_waits_for_the_end_of_the_step(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    """A preemption interrupts the cell as a Ctrl-C does, whatever SIGTERM comes with it, once the job is queued."""
    slurm = pytest.importorskip("layersel.sweep.slurm")
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        signal.signal(signal.SIGUSR2, lambda number, frame: sys.exit(-1))  # as submitit's handler does
        job = slurm.SlurmJob(grid, JOBS[0], OmegaConf.create(), None, source_fingerprint())
        job._handle_preemption()
        signals = WaitingSignals()
        signals.hold()
        for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGTERM):
            signal.raise_signal(number)
        assert job.preempted
        assert signals.waiting
        with pytest.raises(KeyboardInterrupt):
            signals.deliver()
        signals.release()
    finally:
        forget_interrupts()
        for number, handler in before.items():
            signal.signal(number, handler)
