"""A process that runs the jobs of a grid one after the other, as its parent hands them out."""

import signal
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from hydra.types import HydraContext
from omegaconf import DictConfig

from layersel.sweep.grid import Grid, Job
from layersel.sweep.job import do_job
from layersel.terminal.child_process import begin_child


@dataclass(frozen=True)
class Order:
    """One job, as it is handed to a worker.

    Attributes:
        job: Which.
        config: Its config, composed.
        wait: Wait for a cell that another process runs.
        log: Where its output goes; None = where the parent's goes.
    """

    job: Job
    config: DictConfig
    wait: bool
    log: Path | None


def serve(connection: Connection, grid: Grid, context: HydraContext) -> None:
    """Do jobs until there are no more, or the parent is gone; each is answered by its outcome, None for a busy cell."""
    begin_child()  # the parent decides what a Ctrl-C interrupts
    import layersel.cell.training_cell  # noqa: F401  # while no job's clock runs

    while True:
        order: Order | None = connection.recv()
        if order is None:
            return
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            outcome = _do(order, grid, context)
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        connection.send(outcome)


def _do(order: Order, grid: Grid, context: HydraContext) -> object:
    if order.log is None:
        return do_job(grid, order.job, order.config, context, order.wait)
    order.log.parent.mkdir(parents=True, exist_ok=True)
    with order.log.open("a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        return do_job(grid, order.job, order.config, context, order.wait)
