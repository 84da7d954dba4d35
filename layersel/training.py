"""The Lightning Trainer of a cell."""

import logging
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.loggers import Logger

from layersel.compression import Precision
from layersel.errors import one_of

_OWN_THREADS = torch.get_num_threads()
ACCELERATORS = ("auto", "cpu", "gpu")


@dataclass
class TrainerOptions:
    """On what the cell runs."""

    accelerator: str = "auto"
    """cpu, gpu, or auto: a GPU if there is one."""
    threads: int | None = None
    """CPU threads; null leaves PyTorch's choice."""

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

    def problems(self) -> list[str]:
        """An accelerator that is unknown or not there, no threads."""
        found = []
        if self.accelerator not in ACCELERATORS:
            found.append(str(one_of("trainer.accelerator", self.accelerator, ACCELERATORS)))
        if self.accelerator == "gpu" and not torch.cuda.is_available():
            found.append("trainer.accelerator: expected cpu or auto, but got gpu, and PyTorch sees no GPU here")
        if self.threads is not None and self.threads < 1:
            found.append(f"trainer.threads: expected at least 1, but got {self.threads}")
        return found


def fit(trainer: Trainer, module: LightningModule, data: LightningDataModule) -> None:
    """`trainer.fit`, from which Ctrl-C comes out as KeyboardInterrupt.

    Lightning turns it into `sys.exit(1)` and leaves later ones ignored, so that an interrupted run would look like a
    failed one and a grid could not be stopped.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, data)
    except SystemExit as stop:
        if not trainer.interrupted:
            raise
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from stop


def make_trainer(
    options: TrainerOptions,
    precision: Precision,
    epochs: int,
    max_steps: int | None,
    folder: Path,
    callbacks: Sequence[Callback] = (),
    loggers: Sequence[Logger] = (),
) -> Trainer:
    """A Trainer for one device, deterministic, without checkpoints of its own and without a sanity check."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no tips, no "GPU available: False"
    return Trainer(
        accelerator="cpu" if options.on_cpu else "gpu",
        devices=1,
        precision=precision.lightning,  # type: ignore[arg-type]
        max_epochs=epochs,
        max_steps=-1 if max_steps is None else max_steps,
        reload_dataloaders_every_n_epochs=1,  # each epoch draws its own pairs
        deterministic=True,
        default_root_dir=folder,
        callbacks=list(callbacks),
        logger=list(loggers),
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
