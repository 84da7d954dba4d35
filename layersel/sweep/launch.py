"""What every launcher of a grid does: say what it has, keep the record, answer the sweeper."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from hydra.types import HydraContext
from omegaconf import DictConfig, open_dict

from layersel.errors import UserError
from layersel.runs.folder import FINISHED
from layersel.sweep.estimate import estimate
from layersel.sweep.grid import Grid, Job, Outcome, counted, grid_name, tally
from layersel.sweep.local import Pool

NAME = re.compile(r"[\w.+-]+")

_under_way: list["Sweep"] = []


class Sweep:
    """One call of `python train.py -m`: its grid, the jobs that the sweeper has asked for, and their outcomes.

    Args:
        config: The sweep's own config, as Hydra composes it before the jobs'.
        context: Hydra's.
    """

    def __init__(self, config: DictConfig, context: HydraContext):
        self.config = config
        self.context = context
        self.said = [str(text) for text in filter_overrides(config.hydra.overrides.task)]
        experiment = config.hydra.runtime.choices.get("experiment")
        name = grid_name(self.said, experiment) if config.grid is None else str(config.grid)
        if NAME.fullmatch(name) is None:
            raise UserError(f"grid: expected letters, digits and any of -_.+ in its name, but got {name!r}")
        self.grid = Grid(Path(config.output), name)
        self.pool: Pool | None = None
        self.jobs: list[Job] = []
        self.outcomes: dict[int, Outcome] = {}

    @classmethod
    def of(cls, config: DictConfig, context: HydraContext) -> "Sweep":
        """The sweep under way: a sweeper may launch its jobs in several batches."""
        if not _under_way:
            _under_way.append(cls(config, context))
        return _under_way[0]

    def add(self, job_overrides: Sequence[Sequence[str]], first: int, workers: int) -> list[Job]:
        """The jobs of another batch; says how many there are and about how long they will take."""
        jobs = [Job.of(first + place, overrides, self.said) for place, overrides in enumerate(job_overrides)]
        self.jobs += jobs
        self.grid.open(self.said, self.jobs)
        sys.stdout.write(f"{estimate(self.grid, jobs, [self.compose(job) for job in jobs], workers)}\n")
        sys.stdout.flush()
        return jobs

    def compose(self, job: Job) -> DictConfig:
        """The job's config."""
        overrides = [*job.overrides, f"grid={self.grid.name}"]
        config = self.context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = job.num
        return config

    def to_run(self, jobs: Sequence[Job], recorded: bool = False) -> dict[Job, DictConfig]:
        """The jobs that must run, with their configs; those whose cells have ended before are told.

        Cells that other code has finished are counted in a line of their own.

        Args:
            jobs: Which.
            recorded: Look only for cells that an earlier call of this grid has recorded and that have finished: a
                source that raises, exits or takes all memory must not do so in this process.
        """
        from layersel.cell.finding import Finder  # Hydra imports this file whenever it starts
        from layersel.sweep.job import done_before

        finder, left = Finder(), {}
        for job in jobs:
            config = self.compose(job)
            known = self.grid.cell_of(job)
            looks = not recorded or (known is not None and known.state == FINISHED)
            outcome = done_before(self.grid, job, config, finder) if looks else None
            if outcome is None:
                left[job] = config
            else:
                self.tell(outcome)
        if finder.other_code:
            modules = ", ".join(sorted({module for found in finder.other_code for module in found.differing}))
            what = f"{counted(len(finder.other_code), 'finished cell')} of other code ({modules} differ) run again"
            sys.stdout.write(f"{what}; other_code=accept takes them as they are\n")
            sys.stdout.flush()
        return left

    def tell(self, outcome: Outcome) -> None:
        """A line on a job that has ended."""
        self.outcomes[outcome.job.num] = outcome
        value = "" if outcome.value is None else f", {outcome.title} {outcome.value:.3f}"
        how = "had finished before" if outcome.reused else outcome.state
        why = "" if outcome.error is None else f": {outcome.error}"
        sys.stdout.write(f"[{len(self.outcomes)}/{len(self.jobs)}] {outcome.job.title}: {how}{value}{why}\n")
        sys.stdout.flush()

    def returns(self, jobs: Sequence[Job]) -> list[JobReturn]:
        """What Hydra's sweeper is given: for its own one nothing is an error, as it would stop at the first."""
        strict = not self.config.hydra.sweeper._target_.startswith("hydra._internal.")
        return [self._return(self.outcomes[job.num], strict) for job in jobs]

    def _return(self, outcome: Outcome, strict: bool) -> JobReturn:
        returned = JobReturn(overrides=list(outcome.job.overrides), cfg=self.config, status=JobStatus.COMPLETED)
        returned.return_value = outcome.value
        if strict and outcome.state != FINISHED:
            returned.status = JobStatus.FAILED
            returned.return_value = RuntimeError(outcome.error)
        return returned


def finish() -> bool:
    """Close the sweep that is under way, if any: its table and report; whether all of its cells have finished."""
    if not _under_way:
        return True
    sweep = _under_way.pop()
    if sweep.pool is not None:
        sweep.pool.close()
    if not sweep.outcomes:
        return False
    from layersel.sweep.collecting import summarise  # loads pandas

    sys.stdout.write(f"{tally(sweep.outcomes.values())}\n")
    return summarise(sweep.grid.folder)
