"""Runs the jobs of a grid as a SLURM job array, by submitit."""

import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any

import submitit
from hydra.types import HydraContext
from omegaconf import DictConfig

from layersel.errors import UserError
from layersel.sweep.grid import Grid, Job, Outcome, source_fingerprint
from layersel.sweep.job import do_job
from layersel.sweep.launch import Sweep
from layersel.terminal.interrupts import await_interrupts, keep_interrupts
from layersel.terminal.messages import hide_library_warnings

COMMON_SETTINGS = {
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
POLL_SECONDS = 1.0
"""Seconds between two looks at the array's jobs."""
REASON_SECONDS = 30.0
"""Seconds between two calls of squeue that ask why jobs wait."""
ORDINARY_REASONS = {"None", "Priority", "Resources", "JobArrayTaskLimit", "BeginTime", "Dependency"}
"""Reasons of jobs that will start some day; for others a person may have to act."""


@dataclass
class SlurmJob:
    """One cell on a node, as it was composed when it was submitted, however `conf/` changes meanwhile.

    Attributes:
        grid: The grid's record.
        job: The job.
        config: Its config.
        context: Hydra's context.
        source: The hash of layersel's code at submission: a queued job must not run another code than the others.
        preempted: Whether submitit has queued the job again.
    """

    grid: Grid
    job: Job
    config: DictConfig
    context: HydraContext
    source: str
    preempted: bool = False

    def __call__(self) -> Outcome:
        """Runs the cell; a preempted job exits as submitit wants it to."""
        hide_library_warnings()
        if source_fingerprint() != self.source:
            reason = "layersel's code has changed since the submission; give the command again"
            return self.grid.record_interrupted(self.job, reason)
        self._handle_preemption()
        outcome = do_job(self.grid, self.job, self.config, self.context, wait=True)
        if self.preempted:
            sys.exit(-1)  # as submitit's own handler does: this attempt has no result
        if outcome is None:
            raise RuntimeError("a job that waits has an outcome")
        return outcome

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Returns what submitit queues again: the same job, whose cell goes on from its last checkpoint."""
        return submitit.helpers.DelayedSubmission(replace(self, preempted=False))

    def _handle_preemption(self) -> None:
        """Makes a preemption interrupt the cell as a Ctrl-C does, which waits for the end of the training's step.

        Submitit's own handler queues the job again and exits, which would look like a failure of the cell. Or it does
        not reach the exit: SLURM may end the `scontrol` that has just queued the job, as a part of that job. The
        SIGTERM that accompanies a preemption means nothing more; a held one would count as the first of two signals.
        """
        keep_interrupts()
        await_interrupts()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        number = submitit.JobEnvironment._usr_sig()
        queue_again = signal.getsignal(number)

        def interrupt(number: int, frame: FrameType | None) -> None:
            try:
                queue_again(number, frame)  # type: ignore[operator, misc]
            except (SystemExit, subprocess.CalledProcessError):
                self.preempted = True
            signal.raise_signal(signal.SIGINT)

        signal.signal(number, interrupt)


def run_on_slurm(sweep: Sweep, jobs: Mapping[Job, DictConfig], settings: dict[str, Any]) -> None:
    """Submits the jobs as one array and waits for all of them; one that fails or is killed does not stop the others.

    Args:
        sweep: The sweep, which reports each outcome as it comes.
        jobs: The jobs with their configs, at least one.
        settings: The launcher's settings, by the names of `conf/hydra/launcher/slurm.yaml`.
    """
    executor = _executor(settings)
    source = source_fingerprint()
    calls = [SlurmJob(sweep.grid, job, config, sweep.context, source) for job, config in jobs.items()]
    try:
        with executor.batch():
            submitted = [executor.submit(call) for call in calls]
    except submitit.core.utils.FailedJobError as error:
        raise UserError(f"hydra/launcher=slurm: sbatch refuses the array: {' '.join(str(error).split())}") from error
    array = submitted[0].job_id.partition("_")[0]
    sys.stdout.write(f"submitted as SLURM job {array}\n")
    sys.stdout.flush()
    try:
        _await(sweep, dict(zip(jobs, submitted, strict=True)), _Pending(array))
    except KeyboardInterrupt:
        for job in submitted:
            job.cancel(check=False)
        raise


def _executor(settings: dict[str, Any]) -> submitit.AutoExecutor:
    settings = dict(settings)
    folder, timeouts = settings.pop("submitit_folder"), settings.pop("max_num_timeout")
    executor = submitit.AutoExecutor(folder=folder, cluster="slurm", slurm_max_num_timeout=timeouts)
    executor.update_parameters(
        **{
            name if name in COMMON_SETTINGS else f"slurm_{name}": value
            for name, value in settings.items()
            if value is not None
        }
    )
    return executor


def _await(sweep: Sweep, waiting: dict[Job, submitit.Job[Outcome]], pending: "_Pending") -> None:
    while waiting:
        for job, running in list(waiting.items()):
            if running.done():
                sweep.report(_outcome(sweep.grid, job, running))
                del waiting[job]
        pending.report()
        time.sleep(POLL_SECONDS)


@dataclass
class _Pending:
    """Reports why jobs of an array do not start, each reason once."""

    array: str
    reported: set[str] = field(default_factory=lambda: set(ORDINARY_REASONS))
    asked_at: float = field(default_factory=time.monotonic)

    def report(self) -> None:
        """Asks SLURM and prints new reasons, if the last time is long enough ago."""
        if time.monotonic() - self.asked_at < REASON_SECONDS:
            return
        self.asked_at = time.monotonic()
        for reason in sorted(self._reasons() - self.reported):
            sys.stderr.write(f"waiting: SLURM does not start job {self.array}: {reason}\n")
            self.reported.add(reason)

    def _reasons(self) -> set[str]:
        """Returns the reasons by SLURM's own names."""
        command = ["squeue", "--noheader", "--states=PENDING", f"--jobs={self.array}", "--format=%r"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        return {line.strip() for line in answer.stdout.splitlines() if line.strip()}


def _outcome(grid: Grid, job: Job, ended: submitit.Job[Outcome]) -> Outcome:
    try:
        outcome: Outcome = ended.result()
    except (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedJobError) as error:
        lines = str(error).strip().splitlines()
        reason = f"SLURM job {ended.job_id} is {ended.state}: {lines[0] if lines else 'it left no message'}"
        return grid.record_interrupted(job, reason)
    return outcome
