"""Does what all launchers of a grid share: prints what there is to run, keeps the record, answers the sweeper."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep
from hydra.core.utils import JobReturn, JobStatus, filter_overrides
from hydra.types import HydraContext
from hydra.utils import get_class
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict

from layersel.errors import UserError
from layersel.runs.folder import FINISHED, INTERRUPTED, finished_runs
from layersel.sweep.estimate import estimate
from layersel.sweep.grid import Grid, Job, Outcome, grid_name, tally
from layersel.sweep.local import Pool
from layersel.tasks.task import Metric
from layersel.terminal.tables import counted, format_number

NAME = re.compile(r"(?!\.)[\w.+-]+")

_under_way: list["Sweep"] = []


class Sweep:
    """One call of `python train.py -m`: its grid, the jobs that the sweeper has asked for, and their outcomes.

    Args:
        config: The sweep's own config, as Hydra composes it before the jobs'.
        context: Hydra's context.
    """

    def __init__(self, config: DictConfig, context: HydraContext):
        self.config = config
        self.context = context
        typed = cast("list[str]", OmegaConf.to_container(config.hydra.overrides.task))  # unresolved: ${…} may be swept
        self.overrides = [_without_sweep(text) for text in filter_overrides(typed)]
        experiment = config.hydra.runtime.choices.get("experiment")
        name = grid_name(self.overrides, experiment) if config.grid is None else str(config.grid)
        if NAME.fullmatch(name) is None:
            raise UserError(
                f"grid: expected letters, digits and any of -_.+, no dot at the beginning, but got {name!r}"
            )
        if config.hydra.sweeper.get("direction") is not None:
            metric = getattr(get_class(config.task._target_), "primary", None)
            if isinstance(metric, Metric):  # else the dataset decides it
                self._check_direction(metric.title, metric.higher_is_better)
        self.grid = Grid(Path(config.output), name)
        self.pool: Pool | None = None
        self.jobs: list[Job] = []
        self.outcomes: dict[int, Outcome] = {}
        self.left: dict[Job, DictConfig] = {}
        self.workers = 1
        self.estimated = False

    @classmethod
    def of(cls, config: DictConfig, context: HydraContext) -> "Sweep":
        """Returns the sweep under way: a sweeper may launch its jobs in several batches."""
        if not _under_way:
            _under_way.append(cls(config, context))
        return _under_way[0]

    def add(
        self, job_overrides: Sequence[Sequence[str]], first: int, workers: int, recorded: bool = False
    ) -> tuple[list[Job], dict[Job, DictConfig]]:
        """Adds a batch of jobs; prints how many there are, about how long they will take, and which have ended before.

        Args:
            job_overrides: The overrides of each job.
            first: The number of the first one.
            workers: The number of cells that run at a time.
            recorded: Whether to look only for cells that an earlier call of this grid has recorded and that have
                finished: a source that raises, exits or takes all memory must not do so in this process.

        Returns:
            All jobs, and those that must run with their configs.

        Raises:
            UserError: There is no job.
        """
        if not job_overrides:
            axes = ", ".join(text for text in self.overrides if "(" in text) or "an option"
            raise UserError(f"-m: expected at least one cell, but {axes} gives no value; give NAME=VALUE,VALUE")
        jobs = [Job.of(first + place, overrides, self.overrides) for place, overrides in enumerate(job_overrides)]
        self.jobs += jobs
        self.grid.open(self.overrides, self.jobs)
        ended, left = self._find_ended(jobs, recorded)
        self.left, self.workers = dict(left), workers
        finished = sum(outcome.state == FINISHED for outcome in ended)
        before = f", {finished} of them finished before" if finished else ""
        _print(f"grid {self.grid.name}: {counted(len(jobs), 'cell')}{before}{self._estimate()}")
        for outcome in ended:
            self.report(outcome)
        return jobs, left

    def _find_ended(self, jobs: Sequence[Job], recorded: bool) -> tuple[list[Outcome], dict[Job, DictConfig]]:
        """Returns the outcomes of the jobs whose cells have ended before, and the other jobs with their configs."""
        from layersel.cell.finding import Finder  # Hydra imports this file whenever it starts
        from layersel.sweep.job import done_before

        finder, ended, left = Finder(), [], {}
        for job in jobs:
            config = self._compose(job)
            known = self.grid.cell_of(job)
            looks = not recorded or (known is not None and any(finished_runs([known.path])))
            outcome = done_before(self.grid, job, config, finder) if looks else None
            if outcome is None:
                left[job] = config
            else:
                ended.append(outcome)
        if finder.other_code:
            modules = ", ".join(sorted({module for found in finder.other_code for module in found.differing}))
            count = counted(len(finder.other_code), "finished cell")
            _print(
                f"other code computed {count} ({modules} differ): run again; other_code=accept takes them as they are"
            )
        return ended, left

    def _compose(self, job: Job) -> DictConfig:
        overrides = [*job.overrides, f"grid={self.grid.name}"]
        config = self.context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = job.num
        return config

    def report(self, outcome: Outcome) -> None:
        """Prints a line on a job that has ended, and how long the others will take as soon as that can be known."""
        self.outcomes[outcome.job.num] = outcome
        self.left.pop(outcome.job, None)
        value = "" if outcome.value is None else f", {outcome.title} {format_number(outcome.value)}"
        how = "had finished before" if outcome.reused else outcome.state
        why = "" if outcome.error is None else f": {outcome.error}"
        to_go = "" if self.estimated or outcome.state != FINISHED or outcome.reused else self._estimate()
        _print(f"[{len(self.outcomes)}/{len(self.jobs)}] {outcome.job.title}: {how}{value}{why}{to_go}")

    def _estimate(self) -> str:
        """Returns how long the jobs that are left will take, or when that will be known, after a semicolon."""
        if not self.left:
            return ""
        known = estimate(self.grid.output, list(self.left.values()), self.workers)
        self.estimated = known is not None
        return f"; {known or 'how long a cell takes will be known when one has run'}"

    def returns(self, jobs: Sequence[Job]) -> list[JobReturn]:
        """Returns what Hydra's sweeper expects; its own one stops at the first error, so it is given none."""
        strict = not self.config.hydra.sweeper._target_.startswith("hydra._internal.")
        for own in (self.outcomes[job.num] for job in jobs if strict):
            if own.state == FINISHED:
                self._check_direction(str(own.title), own.higher_is_better)
        return [self._return(self.outcomes[job.num], strict) for job in jobs]

    def _check_direction(self, title: str, higher_is_better: bool) -> None:
        """Checks that a sweeper which looks for the best cell looks for it at the right end of the metric."""
        wanted = "maximize" if higher_is_better else "minimize"
        given = self.config.hydra.sweeper.get("direction")
        got = [getattr(own, "name", own) for own in (given if isinstance(given, ListConfig) else [given])]
        if given is not None and got != [wanted]:
            better = "more" if higher_is_better else "less"
            raise UserError(
                f"hydra.sweeper.direction: expected {wanted}, as {better} of {title} is better, but got "
                f"{', '.join(map(str, got))}"
            )

    def _return(self, outcome: Outcome, strict: bool) -> JobReturn:
        returned = JobReturn(overrides=list(outcome.job.overrides), cfg=self.config, status=JobStatus.COMPLETED)
        returned.return_value = outcome.value
        if strict and outcome.state != FINISHED:
            returned.status = JobStatus.FAILED
            returned.return_value = RuntimeError(outcome.error or outcome.state)
        return returned


def finish() -> bool:
    """Ends the sweep under way, if any, with its tables and report; returns whether all of its cells have finished."""
    if not _under_way:
        return True
    sweep = _under_way.pop()
    if sweep.pool is not None:
        sweep.pool.close()
    if not sweep.outcomes:
        return False
    from layersel.sweep.summary import summarise  # Hydra imports this file whenever it starts

    _print(tally(sweep.outcomes.values()))
    whole = summarise(sweep.grid.folder, [sweep.grid.folder])
    if sweep.left or any(outcome.state == INTERRUPTED for outcome in sweep.outcomes.values()):
        _print("The same command again goes on with what was interrupted or has not begun")
    return whole


def _without_sweep(text: str) -> str:
    """Returns an override; an axis of one value as the cells are given it.

    Example:
        >>> _without_sweep("selection.variance=choice(.9)"), _without_sweep("seed=0,1")
        ('selection.variance=0.9', 'seed=0,1')
    """
    override = OverridesParser.create().parse_override(text)
    values = list(override.sweep_string_iterator()) if isinstance(override.value(), ChoiceSweep) else []
    return f"{override.get_key_element()}={values[0]}" if len(values) == 1 else text


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
