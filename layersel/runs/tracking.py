"""Logs the course of a run: in CSV always, in Weights & Biases as asked for."""

import functools
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layersel.errors import UserError, one_of

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

MODES = ("auto", "online", "offline", "disabled")
TAGGED = ("dataset", "model", "selection", "adapter", "pruning", "merging")
"""The labels that are tags too."""
TAG_LENGTH = 64
"""Most characters that W&B allows."""
STEP = "trainer/global_step"
"""The optimizer step in W&B, by the name that Lightning gives it."""


@dataclass
class WandbOptions:
    """Weights & Biases."""

    mode: str = "auto"
    """online, offline, disabled, or auto: online when this machine has a key, else offline."""
    project: str = "layersel"
    """W&B project."""
    entity: str | None = None
    """W&B user or team; null = the key's own."""
    group: str | None = None
    """Runs of one group are shown together; null = the sweep's name."""
    tags: list[str] = field(default_factory=list)
    """Tags of the run, beside its dataset, model, selection, adapter, pruning and merging."""
    artifact: bool = False
    """Log the adapter as a W&B artifact."""

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong: an unknown mode, tags that W&B does not take."""
        found = [] if self.mode in MODES else [str(one_of("logger.mode", self.mode, MODES))]
        return found + [
            f"logger.tags: expected tags of 1 to {TAG_LENGTH} characters, but got {tag!r}"
            for tag in self.tags
            if not 0 < len(tag) <= TAG_LENGTH
        ]

    @property
    def effective_mode(self) -> str:
        """The mode with auto resolved; the environment's WANDB_MODE counts for auto."""
        if self.mode != "auto":
            return self.mode
        from_environment = os.environ.get("WANDB_MODE")
        if from_environment in MODES[1:]:
            return from_environment
        return "online" if _has_key() else "offline"


@dataclass(frozen=True)
class RunDescription:
    """What a dashboard shows of a cell beside its options.

    Attributes:
        name: The name of the cell's folder.
        identity: The hash of all that decides the cell's numbers.
        group: The name of the sweep.
        job_type: `train` or `merge`.
        labels: The axes of a grid, plain values: dataset, model, selection, n, adapter, rank, …
        variant: A hash that cells share which differ in their seed alone.
        configuration: A hash that cells share which differ in their seed and dataset alone.
        resumed: What earlier attempts had logged before the step from which this one goes on: for each step a dict
            of `step` and the logged values.
    """

    name: str
    identity: str
    group: str | None
    job_type: str
    labels: dict[str, Any]
    variant: str
    configuration: str
    resumed: list[dict[str, Any]] = field(default_factory=list)

    def config(self, options: dict[str, Any]) -> dict[str, Any]:
        """Returns W&B's config: the labels and hashes at its top, all options under `config`.

        Half of the labels have the name of a group of options, and a dashboard can group runs by a plain value only.
        W&B shows the nested options as `config.selection.n`, and its documentation warns of names that have a dot
        themselves.
        """
        hashes = {"identity": self.identity, "variant": self.variant, "configuration": self.configuration}
        return {**self.labels, **hashes, "config": options}

    def tags(self, own: list[str]) -> list[str]:
        """Returns the user's tags and those of the labels; a merging cell has one for each dataset."""
        labels = [self.labels[name] for name in TAGGED if self.labels.get(name) is not None]
        values = [value[:TAG_LENGTH] for label in labels for value in str(label).split("+")]
        return list(dict.fromkeys([*own, *(value for value in values if value not in ("", "none"))]))


class Tracker:
    """The loggers of one run, and what is logged beside Lightning's own values."""

    def __init__(self, folder: Path, run: Any, artifacts: bool = False):
        from lightning.pytorch.loggers import CSVLogger, WandbLogger

        self.run = run
        self.artifacts = artifacts
        self.loggers: list[Logger] = [CSVLogger(save_dir=str(folder), name="", version="logs")]
        if run is not None:
            self.loggers.append(WandbLogger(experiment=run))

    def summary(self, values: dict[str, Any]) -> None:
        """Logs final values of the run, each measured once."""
        if self.run is not None:
            self.run.summary.update(values)

    def images(self, files: dict[str, Path]) -> None:
        """Logs figures under their names."""
        if self.run is not None:
            import wandb

            self.run.log({name: wandb.Image(str(path)) for name, path in files.items()})

    def table(self, name: str, columns: list[str], rows: list[list[Any]]) -> None:
        """Logs a table."""
        if self.run is not None:
            import wandb

            self.run.log({name: wandb.Table(columns=columns, data=rows)})

    def curves(self, over: str, rows: list[dict[str, float]]) -> None:
        """Logs values that have no place in the training, over another one of them; a row may lack some.

        Args:
            over: The name of the value on the horizontal axis, which each row has.
            rows: The values of each point by their names.
        """
        if self.run is not None:
            for name in dict.fromkeys(name for row in rows for name in row):
                self.run.define_metric(name, step_metric=None if name == over else over, summary="none")
            for row in rows:
                self.run.log(row)

    def artifact(self, name: str, folder: Path, metadata: dict[str, Any]) -> None:
        """Logs the adapter in `folder` as an artifact, if it was asked for and the cell has one.

        Args:
            name: The cell's name; characters that W&B does not take become hyphens.
            folder: The adapter's folder, which is read when the run is synced: W&B keeps no copy.
            metadata: Facts about the adapter: base model, layers.
        """
        if self.run is None or not self.artifacts or not folder.is_dir():
            return
        import wandb

        artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", name, flags=re.ASCII), "adapter", metadata=metadata)
        artifact.add_dir(str(folder.resolve()), policy="immutable")
        self.run.log_artifact(artifact)


@contextmanager
def tracked(options: WandbOptions, folder: Path, about: RunDescription, config: dict[str, Any]) -> Iterator[Tracker]:
    """Yields the tracker of one attempt at a cell; its W&B run ends with the block, as failed if the block failed.

    A cell is one run of the dashboard, however often it is attempted. Online the run is resumed by the cell's identity.
    Offline runs cannot be: those of earlier attempts are removed, and what is still true of them is logged again.

    Args:
        options: Where to log.
        folder: The cell's folder.
        about: The cell's description.
        config: All options as plain values.

    Raises:
        UserError: W&B cannot be reached or refuses the key.
    """
    if _first_process():
        for earlier in list(folder.glob("wandb/offline-run-*")):
            shutil.rmtree(earlier)
    with _running(options, folder, about, config) as run:
        if run is not None and not run.resumed:
            _replay(run, about.resumed)
        yield Tracker(folder, run, options.artifact)


def report_finished(
    options: WandbOptions, folder: Path, about: RunDescription, config: dict[str, Any], metrics: dict[str, Any]
) -> None:
    """Reports a cell that had finished before to W&B's sweep agent, whose sweep waits for a run with its metrics."""
    if not under_sweep_agent():
        return
    with _running(options, folder, about, config) as run:
        Tracker(folder, run).summary(metrics)


def under_sweep_agent() -> bool:
    """Returns whether W&B's sweep agent has started this process; it then decides id and project of the one run."""
    return "WANDB_SWEEP_ID" in os.environ


def sync_hint(options: WandbOptions, folder: Path) -> str | None:
    """Returns how to bring an offline run to the dashboard; None for other modes."""
    if options.effective_mode != "offline":
        return None
    return f"W&B ran offline; to see the run there: wandb sync {folder}/wandb/offline-run-*"


@contextmanager
def _running(options: WandbOptions, folder: Path, about: RunDescription, config: dict[str, Any]) -> Iterator[Any]:
    """Yields the W&B run, None where there is none; in a job of several processes the first one has it."""
    run = _start(options, folder, about, config) if _first_process() else None
    try:
        yield run
    except BaseException:
        _finish(run, exit_code=1)
        raise
    _finish(run, exit_code=0)


def _start(options: WandbOptions, folder: Path, about: RunDescription, config: dict[str, Any]) -> Any:
    """Starts a run of its own even when an earlier cell of this process left one behind."""
    mode = options.effective_mode
    if mode == "disabled":
        return None
    resumable = mode == "online" and not under_sweep_agent()
    with _refusals_as_user_errors():
        run = _wandb().init(
            mode=mode,
            dir=str(folder),
            project=options.project,
            entity=options.entity,
            group=options.group if options.group is not None else about.group,
            job_type=about.job_type,
            tags=about.tags(options.tags),
            name=about.name,
            config=about.config(config),
            id=about.identity if resumable else None,
            resume="allow" if resumable else None,
            reinit="create_new",
        )
    run.define_metric(STEP)
    run.define_metric("*", step_metric=STEP)  # Lightning does so only for runs that it starts
    return run


def _finish(run: Any, exit_code: int) -> None:
    if run is not None:
        run.finish(exit_code=exit_code)


def _replay(run: Any, rows: list[dict[str, Any]]) -> None:
    """Logs rows in the way of Lightning's logger."""
    for row in rows:
        run.log({STEP if name == "step" else name: value for name, value in row.items()})


def _first_process() -> bool:
    """Returns whether this is the one of a job's processes that logs."""
    from lightning.pytorch.utilities.rank_zero import rank_zero_only

    return getattr(rank_zero_only, "rank", 0) == 0


@functools.cache
def _wandb() -> Any:
    """Returns the library, set up once in a process so that it leaves the terminal alone."""
    import wandb

    wandb.setup(wandb.Settings(silent=True, console="off"))
    return wandb


@functools.cache
def _has_key() -> bool:
    """Returns whether a key is known, from the environment or a login; none is asked for and none is tried."""
    with _refusals_as_user_errors():
        return bool(_wandb().login(prompt=False, verify=False))


@contextmanager
def _refusals_as_user_errors() -> Iterator[None]:
    try:
        yield
    except _wandb().errors.Error as error:
        reason = " ".join(str(error).split())
        hint = "give logger.mode=offline, or another logger.project if the cell's run was deleted from this one"
        raise UserError(f"logger.mode: W&B cannot be used ({reason}); {hint}") from error
