"""The Lightning Trainer of a cell."""

import logging
import os
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.fabric.plugins.environments import ClusterEnvironment, SLURMEnvironment
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy

from layersel.callbacks import AtomicCheckpointIO, LoggedRows, TrainingCheckpoint
from layersel.compression.precision import Precision
from layersel.errors import one_of
from layersel.training.devices import Ranks

_OWN_THREADS = torch.get_num_threads()
ACCELERATORS = ("auto", "cpu", "gpu")
RESUMED_MID_EPOCH = "You're resuming from a checkpoint that ended before the epoch ended"
"""Lightning's warning of what `ScreeningData` takes care of."""


@dataclass
class TrainerOptions:
    """On what the cell runs."""

    accelerator: str = "auto"
    """cpu, gpu, or auto: a GPU if there is one."""
    devices: int = 1
    """How many GPUs (on the CPU: processes) share each training step of a cell, by DDP. The numbers are those of one
    device up to rounding, with dropout those of other draws. All else happens on the first one."""
    threads: int | None = None
    """CPU threads of a process; null leaves PyTorch's choice, which the processes of a training share."""
    checkpoint_seconds: float | None = 30.0
    """Seconds of training between checkpoints, which is what a killed run loses; 0 = after every step, null = none."""

    @property
    def on_cpu(self) -> bool:
        """Whether this machine makes it a CPU run."""
        return self.accelerator == "cpu" or (self.accelerator == "auto" and not torch.cuda.is_available())

    @property
    def device(self) -> torch.device:
        """Where models are put."""
        return torch.device("cpu" if self.on_cpu else "cuda")

    def apply_threads(self) -> None:
        """Set PyTorch's threads; null brings back its own choice, whatever an earlier cell has set."""
        torch.set_num_threads(_OWN_THREADS if self.threads is None else self.threads)
        if self.threads is not None:
            os.environ["OMP_NUM_THREADS"] = str(
                self.threads
            )  # else Lightning sets them in a training on several devices

    def problems(self) -> list[str]:
        """An accelerator that is unknown or not there, more devices than there are, no threads, a negative time."""
        found = []
        if self.accelerator not in ACCELERATORS:
            found.append(str(one_of("trainer.accelerator", self.accelerator, ACCELERATORS)))
        if self.accelerator == "gpu" and not torch.cuda.is_available():
            found.append("trainer.accelerator: expected cpu or auto, but got gpu, and PyTorch sees no GPU here")
        if self.devices < 1:
            found.append(f"trainer.devices: expected at least 1, but got {self.devices}")
        elif not self.on_cpu and self.devices > torch.cuda.device_count() > 0:
            there = torch.cuda.device_count()
            found.append(f"trainer.devices: expected at most {there}, the GPUs seen here, but got {self.devices}")
        if self.threads is not None and self.threads < 1:
            found.append(f"trainer.threads: expected at least 1, but got {self.threads}")
        if self.checkpoint_seconds is not None and not self.checkpoint_seconds >= 0:
            found.append(
                f"trainer.checkpoint_seconds: expected 0 or more, or null, but got {self.checkpoint_seconds:g}"
            )
        return found


def fit(trainer: Trainer, module: LightningModule, data: LightningDataModule) -> None:
    """`trainer.fit`, from which Ctrl-C and SIGTERM come out as KeyboardInterrupt.

    Lightning turns the first into `sys.exit(1)` and leaves later ones ignored, and the second into a SystemExit after
    the step, so that an interrupted run would look like a failed one and a grid could not be stopped. A handler of
    SIGTERM that is already there keeps it: under SLURM submitit ignores it and waits for its own signal.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        with _terminable(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=RESUMED_MID_EPOCH)
            trainer.fit(module, data)
    except SystemExit as stop:
        if not trainer.interrupted:
            raise
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from stop


def make_trainer(  # noqa: PLR0913, PLR0917 - what a training has
    options: TrainerOptions,
    precision: Precision,
    epochs: int,
    max_steps: int | None,
    folder: Path,
    callbacks: Sequence[Callback] = (),
    loggers: Sequence[Logger] = (),
    checkpoint: Path | None = None,
    resume_from: Path | None = None,
    ranks: Ranks | None = None,
) -> Trainer:
    """A Trainer, deterministic, without a sanity check.

    Args:
        options: The device, and how often a checkpoint is written.
        precision: Of the training.
        epochs: Passes over the data.
        max_steps: Most steps; None = all of the epochs.
        folder: Lightning's own.
        callbacks: Of the training.
        loggers: Of the training.
        checkpoint: The folder in which `last.ckpt` is written and overwritten; None writes none.
        resume_from: A checkpoint to go on from, as `checkpoint` has it.
        ranks: Which of the processes of a training on several devices this is; None = the only one.
    """
    for room in ("pytorch", "fabric"):
        logging.getLogger(f"lightning.{room}").setLevel(logging.WARNING)  # no tips, no "GPU available: False"
    logged = LoggedRows()
    keep = [] if checkpoint is None else [TrainingCheckpoint(checkpoint, options.checkpoint_seconds, logged)]
    trainer = Trainer(
        accelerator="cpu" if options.on_cpu else "gpu",
        devices=1 if ranks is None else ranks.size,
        strategy="auto" if ranks is None else DDPStrategy(),
        use_distributed_sampler=False,  # every process is given the whole batch
        precision=precision.lightning,  # type: ignore[arg-type]
        max_epochs=epochs,
        max_steps=-1 if max_steps is None else max_steps,
        reload_dataloaders_every_n_epochs=1,  # each epoch draws its own pairs
        deterministic=True,
        default_root_dir=folder,
        callbacks=[*callbacks, *keep],
        logger=[*loggers, logged],
        plugins=[AtomicCheckpointIO(), *_environments(ranks)],
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    if resume_from is not None:
        trainer.ckpt_path = resume_from  # not in `fit`: LayerSelection looks at it before
    return trainer


def _environments(ranks: Ranks | None) -> list[ClusterEnvironment]:
    """Lightning would have SLURM queue the job again, which is submitit's business, and start processes itself."""
    if ranks is not None:
        return [ranks]
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt within the block, where it would end the process at once."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
