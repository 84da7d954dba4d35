"""The toy training with an adapter in every layer, and what moves in each of its steps."""

from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from toy_training import ToyTraining, toy_training

from layersel.selection.score import score_named

ALL = score_named("all")
SEED = 3


class Snapshots(Callback):
    """The trained parameters before the first step and after each one."""

    def __init__(self) -> None:
        self.taken: list[dict[str, torch.Tensor]] = []

    def _take(self, module: LightningModule) -> None:
        self.taken.append({name: own.detach().clone() for name, own in module.named_parameters() if "lora" in name})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before the first step."""
        self._take(pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """After a step."""
        self._take(pl_module)


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[int]:
    """The layers some of whose parameters are others."""
    changed = [name for name, value in after.items() if not torch.equal(value, before[name])]
    return {int(name.split(".layer.")[1].split(".")[0]) for name in changed}


def fit(folder: Path, *callbacks: Callback, **options: Any) -> ToyTraining:
    """A training of six steps with an adapter in all three layers."""
    return toy_training(folder, ALL, callbacks=callbacks, epochs=1, learning_rate=0.05, **options).fit()
