"""Runs the jobs of a grid as a SLURM job array, by submitit."""

import hashlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import submitit
from hydra.types import HydraContext
from omegaconf import DictConfig

import layersel
from layersel.errors import UserError
from layersel.sweep.grid import Grid, Job, Outcome
from layersel.sweep.job import do_job
from layersel.sweep.launch import Sweep
from layersel.terminal.messages import hide_library_warnings

OF_ALL = {
    "name",
    "timeout_min",
    "cpus_per_task",
    "gpus_per_node",
    "tasks_per_node",
    "mem_gb",
    "nodes",
    "stderr_to_stdout",
}
"""Settings that submitit has for every kind of cluster; it calls others `slurm_NAME`."""
POLL = 1.0
"""Seconds between two looks at the array's jobs."""
LOOK = 30.0
"""Seconds between two questions why jobs wait."""
USUAL = {"None", "Priority", "Resources", "JobArrayTaskLimit", "BeginTime", "Dependency"}
"""Reasons of jobs that will start some day; for others a person may have to act."""


@dataclass
class SlurmJob:
    """What runs on a node: one cell, as it was composed when it was submitted, however `conf/` changes meanwhile.

    Attributes:
        grid: Where it is recorded.
        job: Which.
        config: Its config.
        context: Hydra's.
        source: Hash of layersel's code at submission: a queued job must not run another code than the others.
        preempted: Whether submitit has queued the job again.
    """

    grid: Grid
    job: Job
    config: DictConfig
    context: HydraContext
    source: str
    preempted: bool = False

    def __call__(self) -> Outcome:
        """Run the cell; a preempted job leaves as submitit wants it to."""
        hide_library_warnings()
        if source_fingerprint() != self.source:
            return self.grid.lost(self.job, "layersel's code has changed since the submission; give the command again")
        self._hear_of_preemption()
        outcome = do_job(self.grid, self.job, self.config, self.context, wait=True)
        if self.preempted:
            sys.exit(-1)  # as submitit's own handler does: this attempt has no result
        if outcome is None:
            raise RuntimeError("a job that waits has an outcome")
        return outcome

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """What is queued again: the same job; its cell goes on from its last checkpoint."""
        return submitit.helpers.DelayedSubmission(SlurmJob(self.grid, self.job, self.config, self.context, self.source))

    def _hear_of_preemption(self) -> None:
        """Submitit's handler queues the job again and exits, which would look like a failure of the cell.

        Or it does not come to the exit: SLURM may end the `scontrol` that has just queued the job, as a part of it.
        """
        number = submitit.JobEnvironment._usr_sig()
        queue_again = signal.getsignal(number)

        def interrupt(number: int, frame: FrameType | None) -> None:
            try:
                queue_again(number, frame)  # type: ignore[operator, misc]
            except (SystemExit, subprocess.CalledProcessError) as stop:
                self.preempted = True
                raise KeyboardInterrupt("preempted") from stop

        signal.signal(number, interrupt)


def run_on_slurm(sweep: Sweep, jobs: Sequence[Job], settings: dict[str, Any]) -> None:
    """Submit the jobs as one array and wait for all of them; one that fails or is killed does not stop the others.

    Those whose cells have ended before are not submitted.

    Args:
        sweep: Is told each outcome as it comes.
        jobs: Which.
        settings: The launcher's, by the names of `conf/hydra/launcher/slurm.yaml`.
    """
    executor = _executor(settings)
    configs = sweep.to_run(jobs)
    if not configs:
        return
    source = source_fingerprint()
    context = sweep.context
    calls = [SlurmJob(sweep.grid, job, config, context, source) for job, config in configs.items()]
    try:
        with executor.batch():
            submitted = [executor.submit(call) for call in calls]
    except submitit.core.utils.FailedJobError as error:
        raise UserError(f"hydra/launcher=slurm: sbatch refuses the array: {' '.join(str(error).split())}") from error
    sys.stdout.write(f"submitted as SLURM job {submitted[0].job_id.partition('_')[0]}\n")
    sys.stdout.flush()
    try:
        _await(sweep, dict(zip(configs, submitted, strict=True)))
    except KeyboardInterrupt:
        for job in submitted:
            job.cancel(check=False)
        raise


def source_fingerprint() -> str:
    """A hash of the package's code."""
    folder = Path(layersel.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(f"{file.relative_to(folder)}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _executor(settings: dict[str, Any]) -> submitit.AutoExecutor:
    settings = dict(settings)
    folder, timeouts = settings.pop("submitit_folder"), settings.pop("max_num_timeout")
    executor = submitit.AutoExecutor(folder=folder, cluster="slurm", slurm_max_num_timeout=timeouts)
    executor.update_parameters(
        **{name if name in OF_ALL else f"slurm_{name}": value for name, value in settings.items() if value is not None}
    )
    return executor


def _await(sweep: Sweep, submitted: dict[Job, submitit.Job[Outcome]]) -> None:
    waiting = dict(submitted)
    pending = _Pending(next(iter(submitted.values())).job_id.partition("_")[0])
    while waiting:
        for job, running in list(waiting.items()):
            if running.done():
                sweep.tell(_outcome(sweep.grid, job, running))
                del waiting[job]
        pending.tell()
        time.sleep(POLL)


@dataclass
class _Pending:
    """Says why jobs of an array do not start, each reason once."""

    array: str
    told: set[str] = field(default_factory=lambda: set(USUAL))
    looked: float = field(default_factory=time.monotonic)

    def tell(self) -> None:
        """Look, if it is time to."""
        if time.monotonic() - self.looked < LOOK:
            return
        self.looked = time.monotonic()
        for reason in sorted(self._reasons() - self.told):
            sys.stderr.write(f"waiting: SLURM does not start job {self.array}: {reason}\n")
            self.told.add(reason)

    def _reasons(self) -> set[str]:
        """In SLURM's words."""
        command = ["squeue", "--noheader", "--states=PENDING", f"--jobs={self.array}", "--format=%r"]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        return {line.strip() for line in asked.stdout.splitlines() if line.strip()}


def _outcome(grid: Grid, job: Job, ended: submitit.Job[Outcome]) -> Outcome:
    try:
        outcome: Outcome = ended.result()
    except (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedJobError) as error:
        said = str(error).strip().splitlines()
        return grid.lost(job, f"SLURM job {ended.job_id} is {ended.state}: {said[0] if said else 'no word of it'}")
    return outcome
