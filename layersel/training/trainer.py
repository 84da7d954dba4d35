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
from layersel.training.devices import RankEnvironment
from layersel.training.options import TrainerOptions

RESUMED_MID_EPOCH = "You're resuming from a checkpoint that ended before the epoch ended"
"""Lightning's warning of what the datamodule takes care of."""


@dataclass(frozen=True)
class Training:
    """How long a training lasts, and where its files are.

    Attributes:
        epochs: Passes over the data.
        max_steps: Most steps; None = all of the epochs.
        folder: The folder in which Lightning may write.
        checkpoint: The folder in which `last.ckpt` is written and overwritten; None writes none.
        resume_from: A checkpoint to go on from.
        accumulate: Batches of a step.
        clip: The longest gradient of a step; None = any.
    """

    epochs: int
    max_steps: int | None
    folder: Path
    checkpoint: Path | None = None
    resume_from: Path | None = None
    accumulate: int = 1
    clip: float | None = None


def fit(trainer: Trainer, module: LightningModule, data: LightningDataModule) -> None:
    """Calls `trainer.fit`, from which Ctrl-C and SIGTERM come out as KeyboardInterrupt.

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


def make_deterministic() -> None:
    """Sets PyTorch's flags as a deterministic Trainer does and leaves them: what follows a training is computed so."""
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def make_trainer(
    options: TrainerOptions,
    precision: Precision,
    training: Training,
    callbacks: Sequence[Callback] = (),
    loggers: Sequence[Logger] = (),
    environment: RankEnvironment | None = None,
) -> Trainer:
    """Makes a Trainer that is deterministic and has no sanity check.

    Args:
        options: The device, and how often a checkpoint is written.
        precision: The number format of the training.
        training: How long it lasts, and where its files are.
        callbacks: Further callbacks.
        loggers: Further loggers.
        environment: Which of the processes of a training on several devices this is; None = the only one.
    """
    for room in ("pytorch", "fabric"):
        logging.getLogger(f"lightning.{room}").setLevel(logging.WARNING)  # no tips, no "GPU available: False"
    logged, keep = LoggedRows(), []
    if training.checkpoint is not None:
        keep = [TrainingCheckpoint(training.checkpoint, options.checkpoint_seconds, logged)]
    trainer = Trainer(
        accelerator="cpu" if options.on_cpu else "gpu",
        devices=1 if environment is None else environment.size,
        strategy="auto" if environment is None else DDPStrategy(),
        use_distributed_sampler=False,  # every process is given the whole batch
        precision=precision.lightning,  # type: ignore[arg-type]
        max_epochs=training.epochs,
        max_steps=-1 if training.max_steps is None else training.max_steps,
        accumulate_grad_batches=training.accumulate,
        gradient_clip_val=training.clip,
        reload_dataloaders_every_n_epochs=1,  # each epoch draws its own batches
        deterministic=True,
        default_root_dir=training.folder,
        callbacks=[*callbacks, *keep],
        logger=[*loggers, logged],
        plugins=[AtomicCheckpointIO(), *_environments(environment)],
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    if training.resume_from is not None:
        trainer.ckpt_path = training.resume_from  # not in `fit`: LayerSelection looks at it before
    return trainer


def _environments(environment: RankEnvironment | None) -> list[ClusterEnvironment]:
    """Returns what keeps Lightning from queueing a SLURM job again, as submitit does, and from starting processes."""
    if environment is not None:
        return [environment]
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []


@contextmanager
def _terminable() -> Iterator[None]:
    """Within the block SIGTERM raises KeyboardInterrupt, where it would end the process at once."""
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
