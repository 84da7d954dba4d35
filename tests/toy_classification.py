"""Texts whose classes use different words, and the training of a head and an adapter on a tiny encoder."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from lightning import Callback, LightningModule, Trainer
from models import bert, seeded
from torch import Tensor
from toy_training import N_LAYERS, toy_tokens

from layersel.adapters.kinds.lora import Lora
from layersel.backbone.backbone import Backbone
from layersel.callbacks import LayerSelection
from layersel.callbacks.checkpoint import LAST
from layersel.compression.precision import Precision
from layersel.data.tokens import TokenizedTexts
from layersel.selection.score import Score, score_named
from layersel.tasks.classification.datamodule import ClassificationData
from layersel.tasks.classification.module import ClassificationModule
from layersel.tasks.classification.options import Classification
from layersel.training.options import TrainerOptions
from layersel.training.trainer import Training, fit, make_trainer

N_TRAIN, N_VALIDATION = 14, 8
CLASSES = ("even", "odd")


@dataclass
class Watch(Callback):
    """Keeps loss, learning rates and trained parameters after each batch, and the checkpoint before it."""

    folder: Path
    seen: dict[int, dict[str, Any]] = field(default_factory=dict)
    batch: int = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The batch is still to be counted as done."""
        number = trainer.fit_loop.epoch_loop.batch_progress.total.completed
        self.seen[number] = {
            "loss": float(outputs["loss"]),
            "rates": [group["lr"] for group in trainer.optimizers[0].param_groups],
            "texts": batch.texts,
            "step": trainer.global_step,
            "parameters": {name: value.detach().clone() for name, value in pl_module.state_dict().items()},
        }
        if (self.folder / LAST).is_file():
            shutil.copy(self.folder / LAST, self.folder / f"{number}.ckpt")


@dataclass
class Done:
    """A training that has ended."""

    module: ClassificationModule
    trainer: Trainer
    watch: Watch

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The trained parameters by name."""
        return {name: value.detach().clone() for name, value in self.module.state_dict().items()}


def trained(
    folder: Path,
    resume_from: Path | None = None,
    score: Score | None = None,
    numbers: bool = False,
    targets: Tensor | None = None,
    lora_dropout: float = 0.0,
    **options: Any,
) -> Done:
    """Trains in `folder`; before batch k there is `checkpoints/k.ckpt` where one was due."""
    task = Classification(**{"batch_size": 4, "epochs": 2, "learning_rate": 1e-2, "head_start": "random"} | options)
    tokens = toy_tokens()
    if targets is None:
        targets = torch.arange(len(tokens)).double() % 2 + (100 if numbers else 0)
    texts = TokenizedTexts([str(own) for own in tokens], tokens, [len(own) for own in tokens], 32)
    train, validation = range(N_TRAIN), range(N_TRAIN, N_TRAIN + N_VALIDATION)
    data = ClassificationData(texts, train, validation, targets, task.batch_size, seed=0)
    backbone = Backbone(seeded(lambda: hf.BertModel(bert(num_hidden_layers=N_LAYERS))), pooling="mean")
    module = ClassificationModule(backbone, task, targets[:N_TRAIN], () if numbers else CLASSES, seed=0)
    checkpoints = folder / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    watch = Watch(checkpoints)
    trainer = make_trainer(
        TrainerOptions(accelerator="cpu", checkpoint_seconds=0),
        Precision(),
        Training(task.epochs, task.max_steps, folder, checkpoints, resume_from, task.accumulate, task.clip),
        [LayerSelection(score or score_named("last", n=2), Lora(rank=4, dropout=lora_dropout), 0, folder), watch],
    )
    torch.manual_seed(0 if resume_from is None else 12345)
    fit(trainer, module, data)
    return Done(module, trainer, watch)
