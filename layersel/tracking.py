"""Where the course of a run is logged: CSV always, Weights & Biases as asked for."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger

from layersel.errors import UserError, one_of

MODES = ("auto", "online", "offline", "disabled")


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
    """Runs of one group are shown together."""
    tags: list[str] = field(default_factory=list)
    """Tags of the run."""

    def problems(self) -> list[str]:
        """An unknown mode."""
        return [] if self.mode in MODES else [str(one_of("logger.mode", self.mode, MODES))]

    @property
    def effective_mode(self) -> str:
        """The mode with auto resolved; the environment's WANDB_MODE counts for auto."""
        if self.mode != "auto":
            return self.mode
        from_environment = os.environ.get("WANDB_MODE")
        if from_environment in MODES[1:]:
            return from_environment
        return "online" if _has_key() else "offline"


class Tracker:
    """The loggers of one run, and what is logged beside Lightning's own values."""

    def __init__(self, folder: Path, run: Any):
        self.run = run
        self.loggers: list[Logger] = [CSVLogger(save_dir=str(folder), name="", version="logs")]
        if run is not None:
            self.loggers.append(WandbLogger(experiment=run))

    def summary(self, values: dict[str, float]) -> None:
        """Final values of the run."""
        if self.run is not None:
            self.run.summary.update(values)

    def images(self, files: dict[str, Path]) -> None:
        """Figures, by name."""
        if self.run is not None:
            import wandb

            self.run.log({name: wandb.Image(str(path)) for name, path in files.items()})

    def table(self, name: str, columns: list[str], rows: list[list[Any]]) -> None:
        """A table."""
        if self.run is not None:
            import wandb

            self.run.log({name: wandb.Table(columns=columns, data=rows)})


@contextmanager
def tracked(options: WandbOptions, folder: Path, name: str, config: dict[str, Any]) -> Iterator[Tracker]:
    """The tracker of one run; the W&B run ends with the block, marked as failed if the block failed."""
    run = _start(options, folder, name, config)
    try:
        yield Tracker(folder, run)
    except BaseException:
        _finish(run, exit_code=1)
        raise
    _finish(run, exit_code=0)


def sync_hint(options: WandbOptions, folder: Path) -> str | None:
    """How to bring an offline run to the dashboard; None for other modes."""
    if options.effective_mode != "offline":
        return None
    return f"W&B ran offline; to see the run there: wandb sync {folder}/wandb/offline-run-*"


def _start(options: WandbOptions, folder: Path, name: str, config: dict[str, Any]) -> Any:
    """A run of its own even when an earlier cell of this process left one behind; no global W&B state changes."""
    mode = options.effective_mode
    if mode == "disabled":
        return None
    import wandb

    try:
        return wandb.init(
            mode=mode,  # type: ignore[arg-type]
            dir=str(folder),
            project=options.project,
            entity=options.entity,
            group=options.group,
            tags=options.tags,
            name=name,
            config=config,
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off"),
        )
    except wandb.errors.Error as error:
        reason = " ".join(str(error).split())
        raise UserError(f"logger.mode: W&B cannot be used {mode} ({reason}); give logger.mode=offline") from error


def _finish(run: Any, exit_code: int) -> None:
    if run is not None:
        run.finish(exit_code=exit_code)


def _has_key() -> bool:
    """Whether a key is known, from the environment or a login; none is asked for and none is tried."""
    import wandb

    return bool(wandb.login(prompt=False, verify=False))
