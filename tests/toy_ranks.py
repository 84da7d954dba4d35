"""Parts of the ranks of a training; a helper, a process of its own, finds them here."""

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from toy_training import ToyTraining, toy_training

from layersel.compression.precision import Precision
from layersel.training.devices import RankEnvironment, helper_processes
from layersel.training.options import TrainerOptions
from layersel.training.trainer import Training, fit, make_trainer

THREADS = 3
"""Not what any machine would choose by itself."""


@dataclass
class ToyRank:
    """The toy training; the folder is that of rank 0, which alone writes into it."""

    folder: Path
    options: dict[str, Any] = field(default_factory=dict)
    resume_from: Path | None = None

    def __call__(self, environment: RankEnvironment | None) -> ToyTraining:
        """Does one rank's part."""
        options = TrainerOptions(accelerator="cpu", threads=THREADS, checkpoint_seconds=0)
        options.apply_threads()
        toy = toy_training(self.folder, **self.options)
        task = toy.module.options
        toy.trainer = make_trainer(
            options,
            Precision(),
            Training(task.epochs, task.max_steps, self.folder, self.folder, self.resume_from),
            [toy.selector],
            environment=environment,
        )
        fit(toy.trainer, toy.module, toy.data)
        assert torch.get_num_threads() == THREADS
        return toy

    def on(self, devices: int) -> dict[str, Tensor]:
        """Returns the trained parameters after a training on so many devices."""
        with helper_processes(self, devices) as environment:
            toy = self(environment)
        return {name: value.detach().clone() for name, value in toy.parameters().items() if value.requires_grad}


@dataclass
class FailingHelper:
    """A helper's part that fails: it raises an error, or its process is killed."""

    way: str

    def __call__(self, environment: RankEnvironment) -> None:
        """Fails."""
        if self.way == "raise":
            raise ZeroDivisionError("a helper's own bug")
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class UnreadableTask:
    """A part that a helper cannot even read."""

    content: int = 0

    def __setstate__(self, state: dict[str, int]) -> None:
        raise ModuleNotFoundError("no such module in the helper")

    def __call__(self, environment: RankEnvironment) -> None:
        """Is never called."""
