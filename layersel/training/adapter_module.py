"""Everything of the training of an adapter that does not depend on the task: the task gives the loss."""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
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
from layersel.data.tokens import TokenIds
from layersel.errors import UserError
from layersel.training.hyperparameters import Hyperparameters

# Shapes: T texts, D hidden size.

LOSS = "train/loss"
"""The name under which the loss of a step is logged; NaN where the step was skipped."""


class AdapterModule(LightningModule):
    """Trains the adapter in `backbone` by a task's loss.

    Needs a `TrainingData` datamodule, and its adapter in `placed` before `setup` (by the `LayerSelection` callback).

    Args:
        backbone: Is adapted.
        options: The task's options.
    """

    strict_loading = False  # a checkpoint holds the trained parameters only; `load_state_dict` checks their names

    no_loss: str = "examples had no defined loss; use larger batches"
    """What was wrong with the batches of a training whose every step was skipped, and what to do."""
    if_not_finite: str = "lower task.learning_rate"
    """What to do about a loss that is not finite."""

    def __init__(self, backbone: Backbone, options: Hyperparameters):
        super().__init__()
        self.backbone = backbone
        self.options = options
        self.placed: Placed = Unadapted(backbone)
        self.skipped_batches = 0
        self._skips = False
        self._adapter_state: dict[str, Any] = {}
        self._texts: PrefixCache | None = None

    @abstractmethod
    def loss(self, batch: Any) -> Tensor | None:
        """Returns the loss (0-dimensional) of a batch of the datamodule; None where undefined: the step is skipped."""

    def prepare(self, tokens: Sequence[TokenIds], start: int) -> None:
        """Makes the cache of what enters layer `start`, the lowest that may change, for the texts learnt from."""
        self._texts = PrefixCache(self.backbone, tokens, start, max_bytes=self.options.prefix_cache_bytes)

    def vectors(self, texts: list[int]) -> Tensor:
        """Returns the vectors (T×D) of texts that are learnt from, on every device; each encodes a share of them.

        The loss of the whole batch is then the same everywhere, and so is the gradient's mean, the one of one device.
        """
        cache = self._prepared()
        rank, devices = self.share()
        if devices == 1:
            return cache.vectors(texts)
        even = texts + texts[:1] * (-len(texts) % devices)
        gathered_WSD: Tensor = self.all_gather(cache.vectors(even[rank::devices]), sync_grads=True)  # type: ignore[assignment]
        return gathered_WSD.transpose(0, 1).flatten(0, 1)[: len(texts)]

    def share(self) -> tuple[int, int]:
        """Returns which of the devices this one is, from 0, and how many share a step."""
        trainer = self._trainer  # None where a layer score asks for the loss before the training
        return (0, 1) if trainer is None else (self.global_rank, trainer.world_size)

    def setup(self, stage: str) -> None:
        """Makes the cache of the frozen prefix: what is learnt from is little, so it holds all of it but the pool."""
        start = min(adapted_layers(self.backbone), default=self.backbone.n_layers - 1)
        self.prepare(self.trainer.datamodule.train_tokens, start)  # type: ignore[attr-defined]

    def on_train_start(self) -> None:
        """Turns on the dropout of the trained suffix, if wanted, and the adapter's own; the prefix stays as cached."""
        cache = self._prepared()
        self.backbone.eval()
        self._fill(cache)
        if self.options.dropout:
            self.backbone.train_suffix(cache.start)
        self.placed.train_mode()
        self.placed.begin(int(self.trainer.estimated_stepping_batches))
        self.placed.load_state(self._adapter_state)

    def training_step(self, batch: Any) -> Tensor:
        """Returns the loss of a batch; where it is undefined, a zero whose step is then skipped.

        Lightning's own way to skip a step, None as its loss, is for one device only.
        """
        loss = self.loss(batch)
        self._skips = loss is None
        if loss is None:
            self.skipped_batches += 1
            self.log(LOSS, math.nan, batch_size=1)  # else the former loss is logged again
            return torch.stack([0 * parameter.sum() for parameter in self._trained()]).sum()
        if not torch.isfinite(loss):
            raise UserError(f"training: the loss is {loss.item()} at step {self.global_step}; {self.if_not_finite}")
        self.log(LOSS, loss, batch_size=1)
        penalty = self.placed.penalty()
        return loss if penalty is None else loss + penalty

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Drops the gradients of a skipped step: without them it changes nothing, not even by weight decay."""
        if self._skips:
            optimizer.zero_grad()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Lets the adapter act between steps, while the gradients are still there, but not after a skipped one."""
        if not self._skips:
            self.placed.after_step(self.global_step - 1)

    def on_fit_end(self) -> None:
        """Refuses a training in which every batch was skipped, also if it was resumed: the model is untrained.

        Raises:
            UserError: No batch had a loss.
        """
        if self.skipped_batches and self.skipped_batches == self.global_step:
            batches = f"{self.skipped_batches} batches of {self.options.batch_size}"
            raise UserError(f"task.batch_size: all {batches} {self.no_loss}")

    def configure_optimizers(self) -> Any:
        """Returns AdamW on the adapter, with warm-up and linear decay; None if nothing is trained."""
        trained = self._trained()
        if not trained:
            return None
        optimizer = torch.optim.AdamW(trained, lr=self.options.learning_rate, weight_decay=self.options.weight_decay)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = get_linear_schedule_with_warmup(optimizer, round(self.options.warmup * steps), steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what an adapter keeps between steps, and the count of skipped batches."""
        checkpoint["adapter"] = self.placed.state()
        checkpoint["skipped_batches"] = self.skipped_batches

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes them back; the adapter is given its state when the training has begun."""
        self._adapter_state = checkpoint["adapter"]
        self.skipped_batches = checkpoint["skipped_batches"]

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Returns the trained parameters only: the pretrained weights are where they came from."""
        trained = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        return {name: value for name, value in super().state_dict(*args, **kwargs).items() if name in trained}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Loads trained parameters.

        Raises:
            RuntimeError: Their names are not those of this module's.
        """
        expected = set(self.state_dict())
        if set(state_dict) != expected:
            raise RuntimeError(f"the checkpoint's parameters differ in {sorted(set(state_dict) ^ expected)[:4]}")
        return super().load_state_dict(state_dict, strict=False, assign=assign)

    def _trained(self) -> list[torch.nn.Parameter]:
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def _prepared(self) -> PrefixCache:
        if self._texts is None:
            raise RuntimeError("the texts are used before setup")
        return self._texts

    def _fill(self, texts: PrefixCache) -> None:
        """Encodes all texts that are learnt from but those of the pool, in one order.

        What enters the trained layers, down to its rounding, must not depend on the step at which a text is first seen,
        for a resumed training first sees it at another one.
        """
        with torch.no_grad(), self.trainer.precision_plugin.forward_context():
            texts.fill(range(len(self.trainer.datamodule.train)))  # type: ignore[attr-defined]
        texts.max_bytes = 0  # nothing more is kept
