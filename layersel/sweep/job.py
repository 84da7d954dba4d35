"""Runs one job of a grid in this process: however it ends, it is recorded and the next one can follow."""

import gc
import math
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hydra.core.utils import run_job
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from layersel.errors import UserError, error_line, no_room
from layersel.runs.folder import FAILED, FINISHED, INTERRUPTED, RUNNING, RunBusyError, RunFolder
from layersel.sweep.grid import Grid, Job, Outcome
from layersel.terminal.interrupts import is_interrupted
from layersel.terminal.messages import print_error

if TYPE_CHECKING:
    from layersel.cell.finding import Finder

POLL_SECONDS = 2.0
"""Seconds between two looks at a cell that another process runs."""


def do_job(grid: Grid, job: Job, config: DictConfig, context: HydraContext, wait: bool) -> Outcome | None:
    """Runs the job's cell by Hydra's rules and records how it ended.

    Args:
        grid: The grid's record.
        job: The job.
        config: The job's config as it was composed, with the node `hydra`.
        context: Hydra's context.
        wait: Whether to wait for a cell that another process runs.

    Returns:
        How it ended; None if it does not wait, and another process runs the cell.
    """
    done = run_job(
        task_function=lambda config: _recorded(grid, job, config, wait),
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        hydra_context=context,
    )
    return done.return_value  # type: ignore[no-any-return]


def _recorded(grid: Grid, job: Job, config: DictConfig, wait: bool) -> Outcome | None:
    from layersel.cell.run import train  # loads PyTorch

    cell: list[tuple[str, bool]] = []

    def on_folder(folder: RunFolder) -> None:
        cell[:] = [(folder.path.name, not config.force and folder.state == FINISHED)]
        grid.record(Outcome(job, RUNNING, folder.path.name))

    def ended(state: str, **more: Any) -> Outcome:
        name, reused = cell[0] if cell else (None, False)
        outcome = Outcome(job, state, name, reused=reused and state == FINISHED, **more)
        grid.record(outcome)
        return outcome

    try:
        folder = _waiting(lambda: train(config, on_folder), wait)
    except RunBusyError:
        return None
    except BaseException as caught:  # a cell may even exit; the next ones still run
        if is_interrupted(caught):
            return ended(INTERRUPTED)
        error = no_room(caught) or caught
        print_error(error)
        return ended(FAILED, error=error_line(error), crashed=not isinstance(error, UserError))
    finally:
        gc.collect()
    return ended(FINISHED, **_objective(folder))


def done_before(grid: Grid, job: Job, config: DictConfig, finder: "Finder") -> Outcome | None:
    """Records, and returns, the outcome of a job whose cell has ended before.

    A cell that has failed has ended, unless `retry` asks for another attempt.

    Args:
        grid: The grid's record.
        job: The job.
        config: The job's config as it was composed, with the node `hydra`.
        finder: The finder of all jobs of the grid.

    Returns:
        None if the job must run, or its cell cannot be found without running it.
    """
    if config.force:
        return None
    own = OmegaConf.masked_copy(config, [str(name) for name in config if name != "hydra"])
    try:
        found = finder.find(own)
    except (UserError, OmegaConfBaseException):  # the job says so, if it is wrong where that runs, too
        return None
    if found is None:
        return None
    accepted = found.other_code if config.other_code == "accept" else None
    folder = found.folder if accepted is None else accepted
    state = folder.state
    if state == FINISHED:
        outcome = Outcome(job, FINISHED, folder.path.name, reused=True, **_objective(folder))
    elif state == FAILED and not config.retry:
        outcome = Outcome(job, FAILED, folder.path.name, str(folder.failure()))
    else:
        return None
    grid.record(outcome)
    return outcome


def _objective(folder: RunFolder) -> dict[str, Any]:
    """Returns the value, the title and the direction of the metric that a finished cell is compared by."""
    metric = folder.read_identity()["metric"]
    value = folder.read_metrics()[metric["name"]]
    known = {name: metric[name] for name in ("title", "higher_is_better")}
    return {"value": math.nan if value is None else float(value), **known}


def _waiting(train: Callable[[], RunFolder], wait: bool) -> RunFolder:
    while True:
        try:
            return train()
        except RunBusyError as busy:
            if not wait:
                raise
            sys.stderr.write(f"waiting: {busy}\n")
            while busy.run.state == RUNNING:
                time.sleep(POLL_SECONDS)
