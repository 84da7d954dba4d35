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
        """Stands in for the missing one, so that Hydra finds the launcher and the user is told what to install."""

        def __init__(self, **settings: Any):
            self.params = settings

        def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
            """Refuse."""
            raise UserError("hydra/launcher=slurm: submitit is not installed; pip install 'layersel[slurm]'")


class SlurmLauncher(BaseSubmititLauncher):  # type: ignore[misc]
    """As hydra-submitit-launcher's, but a job that fails or is killed takes no other along, and all are recorded."""

    _EXECUTOR = "slurm"

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a batch of jobs."""
        from layersel.sweep.launch import Sweep  # Hydra imports this file whenever it starts
        from layersel.sweep.slurm import run_on_slurm

        sweep = Sweep.of(self.config, self.hydra_context)
        jobs = sweep.add(job_overrides, initial_job_idx, self.params["array_parallelism"])
        run_on_slurm(sweep, jobs, self.params)
        return sweep.returns(jobs)
