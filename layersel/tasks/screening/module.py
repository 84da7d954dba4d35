"""Few-shot contrastive screening as a LightningModule."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor
from torch.optim import Optimizer
from transformers import get_linear_schedule_with_warmup

from layersel.adapters.placed import Placed, Unadapted
from layersel.adapters.placement import adapted_layers
from layersel.backbone.backbone import Backbone
from layersel.backbone.prefix import PrefixCache
from layersel.errors import UserError
from layersel.tasks.screening.loss import pairwise_contrastive_loss
from layersel.tasks.screening.pairs import PairBatch


@dataclass
class Screening:
    """Few-shot citation screening: contrastive training of the adapter, then a logistic head on the vectors."""

    epochs: int = 1
    """Passes over the pairs."""
    max_steps: int | None = 20
    """Most training steps; null = all of the epochs. More often hurts than helps with few labelled records."""
    batch_size: int = 16
    """Pairs in a training step."""
    learning_rate: float = 5e-4
    """Of AdamW, at its highest."""
    weight_decay: float = 0.01
    """Of AdamW."""
    warmup: float = 0.1
    """Share of the steps in which the learning rate rises from 0; it falls linearly afterwards."""
    temperature: float = 0.2
    """τ of the loss: cosine similarities are divided by it."""
    dropout: bool = False
    """Use the pretrained model's hidden dropout in the trained layers."""
    head_c: float = 1.0
    """Inverse strength of the logistic head's penalty."""
    normalize: bool = True
    """Scale vectors to length 1 before the head."""
    prefix_cache_mb: int = 1024
    """Memory for the frozen layers' output, which later passes reuse, in MB."""

    def problems(self) -> list[str]:
        """What is wrong with the options."""
        bounds = {"epochs": 0, "batch_size": 2, "prefix_cache_mb": 0}
        found = [
            f"task.{name}: expected at least {least}, but got {getattr(self, name)}"
            for name, least in bounds.items()
            if getattr(self, name) < least
        ]
        found += [
            f"task.{name}: expected a number above 0, but got {getattr(self, name)}"
            for name in ("learning_rate", "temperature", "head_c")
            if not getattr(self, name) > 0
        ]
        if self.max_steps is not None and self.max_steps < 1:
            found.append(f"task.max_steps: expected at least 1 or null, but got {self.max_steps}; see selection=none")
        if self.weight_decay < 0:
            found.append(f"task.weight_decay: expected 0 or more, but got {self.weight_decay}")
        if not 0 <= self.warmup <= 1:
            found.append(f"task.warmup: expected a share from 0 to 1, but got {self.warmup}")
        return found


class ContrastiveScreening(LightningModule):
    """Trains the adapters in `backbone` on pairs of labelled records.

    Needs a `ScreeningData` datamodule, and its adapter in `placed` before `setup` (by the `LayerSelection` callback).
    """

    strict_loading = False  # a checkpoint holds the trained parameters only; `load_state_dict` checks their names

    def __init__(self, backbone: Backbone, options: Screening):
        super().__init__()
        self.backbone = backbone
        self.options = options
        self.placed: Placed = Unadapted(backbone)
        self.skipped_batches = 0
        self._skips = False
        self._adapter_state: dict[str, Any] = {}
        self._texts: PrefixCache | None = None

    def setup(self, stage: str) -> None:
        """Make the cache of the frozen prefix: the labelled records are few, so it holds all of them."""
        start = min(adapted_layers(self.backbone), default=self.backbone.n_layers - 1)
        tokens = self.trainer.datamodule.train_tokens  # type: ignore[attr-defined]
        self._texts = PrefixCache(self.backbone, tokens, start, max_bytes=self.options.prefix_cache_mb * 2**20)

    def on_train_start(self) -> None:
        """Dropout is on in the trained suffix only, for the prefix stays what the cache holds; the adapters' own is."""
        if self._texts is None:
            raise RuntimeError("on_train_start before setup")
        self.backbone.eval()
        self._fill(self._texts)
        if self.options.dropout:
            self.backbone.train_suffix(self._texts.start)
        self.placed.train_mode()
        self.placed.begin(int(self.trainer.estimated_stepping_batches))
        self.placed.load_state(self._adapter_state)

    def training_step(self, batch: PairBatch) -> Tensor:
        """The loss of a batch; each of its distinct texts is encoded once. Where it is undefined, the step is skipped.

        Lightning's own way to skip a step, None as its loss, is for one device only.
        """
        vectors_TD = self._vectors(batch.texts)
        left_PD, right_PD = vectors_TD[batch.pairs_P2].unbind(dim=1)
        loss = pairwise_contrastive_loss(left_PD, right_PD, batch.same_P, self.options.temperature)
        self._skips = loss is None
        if loss is None:
            self.skipped_batches += 1
            self.log("train/loss", math.nan, batch_size=len(batch.pairs_P2))  # else the former loss is logged again
            return 0 * vectors_TD.sum()
        if not torch.isfinite(loss):
            raise UserError(
                f"training: the loss is {loss.item()} at step {self.global_step}; "
                "lower task.learning_rate or raise task.temperature"
            )
        self.log("train/loss", loss, batch_size=len(batch.pairs_P2))
        penalty = self.placed.penalty()
        return loss if penalty is None else loss + penalty

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Without gradients a step changes nothing, not even by weight decay or momentum."""
        if self._skips:
            optimizer.zero_grad()

    def on_train_batch_end(self, outputs: Any, batch: PairBatch, batch_idx: int) -> None:
        """What an adapter does between steps; the gradients are still there, but for a skipped batch."""
        if not self._skips:
            self.placed.after_step(self.global_step - 1)

    def on_fit_end(self) -> None:
        """A training in which every batch was skipped is an error, not an untrained model; also if it is resumed."""
        if self.skipped_batches and self.skipped_batches == self.global_step:
            raise UserError(
                f"task.batch_size: all {self.skipped_batches} batches of {self.options.batch_size} pairs lacked "
                "same-class or different-class pairs; use larger batches"
            )

    def configure_optimizers(self) -> Any:
        """AdamW on the adapters, warm-up, then linear decay."""
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        if not trained:
            return None
        optimizer = torch.optim.AdamW(trained, lr=self.options.learning_rate, weight_decay=self.options.weight_decay)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = get_linear_schedule_with_warmup(optimizer, round(self.options.warmup * steps), steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what an adapter keeps between steps, and the count of skipped batches."""
        checkpoint["adapter"] = self.placed.state()
        checkpoint["skipped_batches"] = self.skipped_batches

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The adapter is given its state when it has begun."""
        self._adapter_state = checkpoint["adapter"]
        self.skipped_batches = checkpoint["skipped_batches"]

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """The trained parameters only: the pretrained weights are where they came from."""
        trained = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        return {name: value for name, value in super().state_dict(*args, **kwargs).items() if name in trained}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load trained parameters; their names must be those of this module's."""
        expected = set(self.state_dict())
        if set(state_dict) != expected:
            raise RuntimeError(f"the checkpoint's parameters differ in {sorted(set(state_dict) ^ expected)[:4]}")
        return super().load_state_dict(state_dict, strict=False, assign=assign)

    def _vectors(self, texts: list[int]) -> Tensor:
        """The vectors (T×D) of labelled records, on every device; each of several encodes a share of them.

        The loss of the whole batch is then the same everywhere, and so is the gradient's mean, the one of one device.
        """
        if self._texts is None:
            raise RuntimeError("training_step before setup")
        devices = self.trainer.world_size
        if devices == 1:
            return self._texts.vectors(texts)
        even = texts + texts[:1] * (-len(texts) % devices)
        gathered_WSD: Tensor = self.all_gather(self._texts.vectors(even[self.global_rank :: devices]), sync_grads=True)  # type: ignore[assignment]
        return gathered_WSD.transpose(0, 1).flatten(0, 1)[: len(texts)]

    def _fill(self, texts: PrefixCache) -> None:
        """Encode all labelled texts, in one order.

        What enters the trained layers, down to its rounding, must not depend on the step at which a text is first seen,
        for a resumed training first sees it at another one.
        """
        with torch.no_grad(), self.trainer.precision_plugin.forward_context():
            texts.vectors(range(len(texts.tokens)))
        texts.max_bytes = 0  # nothing more is kept
