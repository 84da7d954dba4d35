"""`hydra/launcher=local`: worker processes on this machine."""

import os
from collections.abc import Sequence

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from layersel.errors import UserError


class LocalLauncher(Launcher):
    """Runs the cells of a grid in worker processes, each of which runs one after the other.

    Args:
        workers: The number of cells at a time.
        threads: The CPU threads of each; None = an even share of the cores, or all of them for one worker.
        gpus: The number of GPUs that are dealt out evenly; None leaves all to all.
    """

    def __init__(self, workers: int, threads: int | None, gpus: int | None):
        self.workers = workers
        self.threads = threads
        self.gpus = gpus

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keeps what Hydra hands over; a job runs `layersel.cell.run.train`, whatever the launcher."""
        self.context = hydra_context
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs a batch of jobs."""
        from layersel.sweep.launch import Sweep  # Hydra imports this file whenever it starts
        from layersel.sweep.local import Pool, Resources

        for name, value in (("workers", self.workers), ("threads", self.threads), ("gpus", self.gpus)):
            if not isinstance(value, int) and (value is not None or name == "workers"):
                raise UserError(f"hydra.launcher.{name}: expected a whole number, but got {value!r}")
        resources = Resources(self.workers, self._threads(), self._gpus())
        resources.check()
        sweep = Sweep.of(self.config, self.context)
        jobs, left = sweep.add(job_overrides, initial_job_idx, self.workers, recorded=True)
        if sweep.pool is None:
            sweep.pool = Pool(sweep.grid, self.context, resources, sweep.report)
        sweep.pool.run(left)
        return sweep.returns(jobs)

    def _threads(self) -> int | None:
        if self.threads is not None or self.workers <= 1:
            return self.threads
        from layersel.training.options import cores  # Hydra imports this file whenever it starts

        return max(1, cores() // self.workers)

    def _gpus(self) -> list[str]:
        """Returns the numbers of the GPUs that are dealt out, of those that this process may use."""
        if self.gpus is not None and self.gpus < 1:
            raise UserError(f"hydra.launcher.gpus: expected at least 1 or null, but got {self.gpus}")
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        numbers = visible.split(",") if visible else [str(number) for number in range(self.gpus or 0)]
        return [] if self.gpus is None else numbers[: self.gpus]
