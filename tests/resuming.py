"""The toy training with a checkpoint after every step, each of which is kept to be resumed from."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from toy_training import ToyTraining, toy_training

from layersel.callbacks.checkpoint import LAST
from layersel.compression.precision import Precision
from layersel.tasks.screening.losses.pairs import RandomPairs
from layersel.tasks.screening.losses.pairwise import Pairwise
from layersel.training.options import TrainerOptions
from layersel.training.trainer import Training, fit, make_trainer

N_EPOCHS, N_BATCHES = 2, 3
N_STEPS = N_EPOCHS * N_BATCHES
LOSS = Pairwise(pairs=RandomPairs(per_record=2))  # 24 pairs of 12 records, 8 a batch


@dataclass
class Watch(Callback):
    """Keeps loss, learning rate, texts and random state of every step, and the checkpoint before it."""

    folder: Path
    then: Callable[[int], None] = lambda step: None
    seen: dict[int, dict[str, Any]] = field(default_factory=dict)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The step is still to be counted as done: `last.ckpt` is the one before it."""
        step = trainer.global_step - 1
        self.seen[step] = {
            "loss": float(outputs["loss"]) if outputs else None,
            "rate": trainer.optimizers[0].param_groups[0]["lr"],
            "batch of": batch.texts,
            "batch": batch_idx,
            "epoch": trainer.current_epoch,
            "random": torch.get_rng_state().tolist(),
        }
        if (self.folder / LAST).is_file():
            shutil.copy(self.folder / LAST, self.folder / f"{step}.ckpt")
        self.then(step)


@dataclass
class Attempt:
    """A training that has ended.

    Attributes:
        toy: All of it.
        seen: What happened in each of its steps, by the step's number.
        log: The text of `logs/metrics.csv`.
    """

    toy: ToyTraining
    seen: dict[int, dict[str, Any]]
    log: str

    @property
    def trained(self) -> dict[str, Tensor]:
        """The trained parameters by name."""
        return {name: value for name, value in self.toy.parameters().items() if value.requires_grad}


def attempt(
    folder: Path,
    resume_from: Path | None = None,
    seconds: float | None = 0,
    then: Callable[[int], None] = lambda step: None,
    callbacks: Sequence[Callback] = (),
    **options: Any,
) -> Attempt:
    """Train in `folder`, from a checkpoint if there is one; after step k there is `checkpoints/k.ckpt`.

    A new model, module and trainer, and a global random state that an earlier attempt has not left behind.
    """
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    toy = toy_training(folder, **{"loss": LOSS, "epochs": N_EPOCHS, "dropout": True} | options)
    torch.manual_seed(0 if resume_from is None else 12345)
    watch = Watch(checkpoints, then)
    toy.trainer = make_trainer(
        TrainerOptions(accelerator="cpu", checkpoint_seconds=seconds),
        Precision(),
        Training(toy.module.options.epochs, toy.module.options.max_steps, folder, checkpoints, resume_from),
        [toy.selector, *callbacks, watch],
        [CSVLogger(save_dir=str(folder), name="", version="logs")],
    )
    fit(toy.trainer, toy.module, toy.data)
    if (checkpoints / LAST).is_file():
        shutil.copy(checkpoints / LAST, checkpoints / f"{toy.trainer.global_step}.ckpt")
    log = folder / "logs" / "metrics.csv"
    return Attempt(toy, watch.seen, log.read_text() if log.is_file() else "")


def assert_goes_on_as(resumed: Attempt, whole: Attempt, step: int) -> None:
    """From `step` on everything is as in the uninterrupted training, bit by bit."""
    assert resumed.seen == {number: seen for number, seen in whole.seen.items() if number >= step}
    assert resumed.trained.keys() == whole.trained.keys()
    assert all(torch.equal(resumed.trained[name], value) for name, value in whole.trained.items())
    assert resumed.log == whole.log
    assert resumed.toy.trainer.global_step == whole.toy.trainer.global_step
    assert resumed.toy.module.skipped_batches == whole.toy.module.skipped_batches
