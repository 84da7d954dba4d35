"""Checkpoints of a training: one that is interrupted goes on where it was, and ends with the same numbers."""

import time
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor

from layersel.callbacks.logged_rows import LOGGED, LoggedRows, log_again
from layersel.callbacks.waiting_signals import WaitingSignals

LAST = "last.ckpt"
RANDOM = "random_states"


class TrainingCheckpoint(Callback):
    """Writes `last.ckpt` between two steps; a run that resumes from it ends like one that was not interrupted.

    Lightning saves and restores parameters, optimizer, schedule and progress. Added are the random states, restored
    right before the first step, and what has been logged, which a CSV logger in the same folder deletes. Ctrl-C and
    SIGTERM wait for the end of the step, for in the middle of it there is nothing to go on from.

    Args:
        folder: The folder of `last.ckpt`.
        seconds: It is written at the start, whenever so much time has passed, at the end, and before an interruption;
            with 0 after every step, with None never.
        logged: The logger of the trainer that keeps its rows.
    """

    def __init__(self, folder: Path, seconds: float | None, logged: LoggedRows):
        self.file = folder / LAST
        self.seconds = seconds
        self._logged = logged
        self._signals = WaitingSignals()
        self._random: dict[str, Tensor] | None = None
        self._saved_at: float | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Notes the handlers of signals before Lightning takes SIGTERM."""
        self._signals = WaitingSignals()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Makes signals wait from here on."""
        self._signals.hold()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Pauses between two steps: the former is done, counted and logged, the next has only its first batch."""
        if self._random is not None:
            _set_random_states(self._random, trainer.strategy.root_device)
            self._random = None
        done = trainer.fit_loop.epoch_loop.batch_progress.current.completed
        if done % trainer.accumulate_grad_batches == 0:  # else there are gradients, which no checkpoint holds
            self._pause(trainer, self._due())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Writes the end of the training, which a later interruption leaves done."""
        self._pause(trainer, due=True)
        self._signals.release()
        if self._signals.waiting:
            self._signals.deliver()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Writes nothing, for the step may be half done."""
        self._signals.release()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds what Lightning does not save; the batch of the next step counts as not begun."""
        checkpoint[LOGGED] = self._logged.rows
        checkpoint[RANDOM] = _of_all_ranks(trainer, _random_states(trainer.strategy.root_device))
        progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        for counts in (progress["total"], progress["current"]):
            counts["ready"] = counts["completed"]
        progress["is_last_batch"] = False

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Logs again what had been logged in CSV; the random states have to wait for the first step."""
        states = checkpoint[RANDOM]
        self._random = states[trainer.global_rank % len(states)]  # there may be more devices than there were
        self._saved_at = time.monotonic()
        self._logged.rows = list(checkpoint[LOGGED])
        for logger in trainer.loggers:
            if isinstance(logger, CSVLogger):
                log_again(logger, self._logged.rows)

    def _pause(self, trainer: Trainer, due: bool) -> None:
        """Writes what is due, and delivers a waiting signal; all processes of a distributed run do the same."""
        interrupted = trainer.strategy.reduce_boolean_decision(self._signals.waiting, all=False)
        due = trainer.strategy.reduce_boolean_decision(due, all=False)
        if self.seconds is not None and (due or interrupted):
            trainer.save_checkpoint(self.file)
            self._saved_at = time.monotonic()
        if interrupted:
            self._signals.deliver()

    def _due(self) -> bool:
        if self.seconds is None:
            return False
        return self._saved_at is None or time.monotonic() - self._saved_at >= self.seconds


def _random_states(device: torch.device) -> dict[str, Tensor]:
    """Returns the states of the generators that dropout draws from."""
    states = {"cpu": torch.get_rng_state()}
    return states | {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else states


def _set_random_states(states: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"].cpu())
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)


def _of_all_ranks(trainer: Trainer, own: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Gathers the states of every process; only the first writes the file."""
    found: list[Any] = [own] * trainer.world_size
    if trainer.world_size > 1:
        torch.distributed.all_gather_object(found, own)
    return found
