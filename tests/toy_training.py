"""A toy review whose classes use different words, and its contrastive training on a tiny encoder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers as hf
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint
from models import bert, seeded
from torch import Tensor

from layersel.adapters.adapter import Adapter
from layersel.adapters.kinds.lora import Lora
from layersel.backbone.backbone import Backbone
from layersel.callbacks import LayerSelection
from layersel.data.tokens import TokenIds
from layersel.selection.rank_rule import RankRule
from layersel.selection.score import Score, score_named
from layersel.tasks.screening.datamodule import ScreeningData
from layersel.tasks.screening.losses.pairs import RandomPairs
from layersel.tasks.screening.losses.pairwise import Pairwise
from layersel.tasks.screening.module import ContrastiveScreening
from layersel.tasks.screening.options import Screening

N_TRAIN, N_LAYERS = 12, 3


def toy_tokens(n: int = 30) -> list[TokenIds]:
    """Texts of 6 to 15 tokens; even ones have half of their words from one list, odd ones from another."""
    generator = torch.Generator().manual_seed(0)
    texts = []
    for text in range(n):
        length = int(torch.randint(6, 16, (), generator=generator))
        common = torch.randint(10, 60, (length,), generator=generator)
        telling = torch.randint(60, 80, (length,), generator=generator) + 20 * (text % 2)
        texts.append([2, *torch.where(torch.rand(length, generator=generator) < 0.5, common, telling).tolist(), 3])
    return texts


@dataclass
class ToyTraining:
    """Everything that a training has."""

    module: ContrastiveScreening
    selector: LayerSelection
    data: ScreeningData
    trainer: Trainer

    def fit(self, checkpoint: Path | None = None) -> "ToyTraining":
        """Train, from a checkpoint if there is one; returns itself."""
        if checkpoint is not None:
            self.trainer.ckpt_path = checkpoint
        self.trainer.fit(self.module, self.data)
        return self

    @property
    def trained(self) -> dict[str, Tensor]:
        """Copies of the trained parameters by name."""
        return {name: value.detach().clone() for name, value in self.parameters().items() if "lora" in name}

    def parameters(self) -> dict[str, Tensor]:
        """All parameters by name."""
        return dict(self.module.named_parameters())


def toy_training(
    folder: Path,
    score: Score | None = None,
    seed: int = 0,
    batch_size: int = 8,
    adapter: Adapter | None = None,
    callbacks: Sequence[Callback] = (),
    pool: Sequence[TokenIds] = (),
    ranks: RankRule | None = None,
    **options: object,
) -> ToyTraining:
    """A training on the CPU that has yet to be started; `options` are those of `Screening`."""
    torch.manual_seed(seed)
    model = seeded(lambda: hf.BertModel(bert(num_hidden_layers=N_LAYERS)))
    labels = torch.arange(N_TRAIN) % 2
    own = {"loss": Pairwise(pairs=RandomPairs(per_record=4)), "batch_size": batch_size}
    task = Screening(**{"epochs": 2, "learning_rate": 1e-2, "dropout": False} | own | options)
    data = ScreeningData(toy_tokens(), range(N_TRAIN), labels, task, seed, pool)
    selector = LayerSelection(score or score_named("last", n=2), adapter or Lora(rank=4), seed, folder, ranks=ranks)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=task.epochs,
        reload_dataloaders_every_n_epochs=1,
        callbacks=[selector, *callbacks],
        logger=False,
        default_root_dir=folder,
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    return ToyTraining(ContrastiveScreening(Backbone(model, pooling="mean"), task), selector, data, trainer)
