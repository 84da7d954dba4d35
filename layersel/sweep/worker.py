"""A process that runs the jobs of a grid one after the other, as its parent hands them out."""

import signal
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from hydra.types import HydraContext
from omegaconf import DictConfig

from layersel.sweep.grid import Grid, Job
from layersel.sweep.job import do_job
from layersel.terminal.child_process import begin_child
from layersel.terminal.interrupts import await_interrupts, forget_interrupts


@dataclass(frozen=True)
class Order:
    """A job, as it is handed to a worker.

    Attributes:
        job: The job.
        config: Its config, composed.
        wait: Whether to wait for a cell that another process runs.
        log: The file for its output; None = the parent's output.
    """

    job: Job
    config: DictConfig
    wait: bool
    log: Path | None


BEGUN = "begun"
"""What a worker answers first to an order: from then on a SIGINT interrupts the job."""


def serve(connection: Connection, grid: Grid, context: HydraContext) -> None:
    """Runs jobs until there are no more, or the parent is gone.

    Answers each order by BEGUN, then by the job's outcome, None for a busy cell.
    """
    begin_child()  # the parent decides what a Ctrl-C interrupts
    import layersel.cell.training_cell  # noqa: F401  # so that no job's time includes it

    while True:
        order: Order | None = connection.recv()
        if order is None:
            return
        connection.send(_interruptible(order, grid, context, lambda: connection.send(BEGUN)))


def _interruptible(order: Order, grid: Grid, context: HydraContext, on_begin: Callable[[], None]) -> object:
    """Runs a job that a SIGINT interrupts at any moment; before and after it the signal is ignored."""
    outcome: object = None
    try:
        await_interrupts()
        on_begin()
        outcome = _do(order, grid, context)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        outcome = outcome or grid.record_interrupted(order.job)
    finally:
        forget_interrupts()
    return outcome


def _do(order: Order, grid: Grid, context: HydraContext) -> object:
    if order.log is None:
        return do_job(grid, order.job, order.config, context, order.wait)
    order.log.parent.mkdir(parents=True, exist_ok=True)
    with order.log.open("a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        return do_job(grid, order.job, order.config, context, order.wait)
