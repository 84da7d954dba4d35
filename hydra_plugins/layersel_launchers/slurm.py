"""`hydra/launcher=slurm`: a job array, by hydra-submitit-launcher's settings."""

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from layersel.errors import UserError

try:
    from hydra_plugins.hydra_submitit_launcher.submitit_launcher import BaseSubmititLauncher
except ImportError:  # the extra is not installed

    class BaseSubmititLauncher(Launcher):  # type: ignore[no-redef]
        """A stand-in for the missing one: Hydra finds the launcher, and the user reads what to install."""

        def __init__(self, **settings: Any):
            self.params = settings

        def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
            """Raises a UserError."""
            raise UserError("hydra/launcher=slurm: submitit is not installed; pip install 'layersel[slurm]'")


class SlurmLauncher(BaseSubmititLauncher):  # type: ignore[misc]
    """Runs jobs as hydra-submitit-launcher does, but one that fails stops no other, and all are recorded."""

    _EXECUTOR = "slurm"

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs a batch of jobs."""
        from layersel.sweep.launch import Sweep  # Hydra imports this file whenever it starts
        from layersel.sweep.slurm import run_on_slurm

        sweep = Sweep.of(self.config, self.hydra_context)
        jobs, left = sweep.add(job_overrides, initial_job_idx, self.params["array_parallelism"])
        if left:
            run_on_slurm(sweep, left, self.params)
        return sweep.returns(jobs)
