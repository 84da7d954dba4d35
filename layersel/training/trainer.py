"""The Lightning Trainer of a cell."""

import logging
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.fabric.plugins.environments import ClusterEnvironment, SLURMEnvironment
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy

from layersel.callbacks import AtomicCheckpointIO, LoggedRows, TrainingCheckpoint
from layersel.compression.precision import Precision
from layersel.training.devices import Ranks
from layersel.training.options import TrainerOptions

RESUMED_MID_EPOCH = "You're resuming from a checkpoint that ended before the epoch ended"
"""Lightning's warning of what `TrainingData` takes care of."""


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
        reload_dataloaders_every_n_epochs=1,  # each epoch draws its own batches
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
