"""Everything of the training of an adapter that does not depend on the task: the task gives the loss."""

import math
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from lightning import LightningModule
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from layersel.adapters.placed import Placed, Unadapted
from layersel.adapters.placement import adapted_layers
from layersel.backbone.backbone import Backbone
from layersel.backbone.prefix import PrefixCache
from layersel.backbone.recomputing import recomputed
from layersel.data.tokens import TokenIds
from layersel.errors import UserError
from layersel.training.hyperparameters import Hyperparameters
from layersel.training.schedules import schedule

# Shapes: T texts, D hidden size.

LOSS = "train/loss"
"""The name under which the loss of a step is logged; NaN where the step was skipped."""


class Part(NamedTuple):
    """Parameters that are trained alike.

    Attributes:
        parameters: The parameters.
        learning_rate: Their highest learning rate.
        start: The step at which their training begins.
    """

    parameters: list[torch.nn.Parameter]
    learning_rate: float
    start: int = 0


class AdapterModule(LightningModule):
    """Trains the adapter in `backbone` by a task's loss.

    Needs a `TrainingData` datamodule, and its adapter in `placed` before `setup` (by the `LayerSelection` callback).

    Args:
        backbone: Is adapted.
        options: The task's options.

    Attributes:
        n_tokens: Tokens of the texts that have been trained on, the frozen prefix' among them.
        seconds_before: How long earlier attempts at this training took, up to the checkpoint that it goes on from.
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
        self.n_tokens = 0
        self.seconds_before = 0.0
        self._began = time.perf_counter()
        self._step_losses: list[Tensor] = []
        self._adapter_start = 0
        self._awake = False
        self._names: set[str] | None = None
        self._adapter_state: dict[str, Any] = {}
        self._texts: PrefixCache | None = None

    @abstractmethod
    def loss(self, batch: Any) -> Tensor | None:
        """Returns the loss (0-dimensional) of a batch of the datamodule; None where undefined: the step is skipped.

        A batch has the indices of its texts in `texts`.
        """

    def adapter_start(self, steps: int) -> int:
        """Returns the step, out of so many, at which the training of the adapter begins; before it stays as placed."""
        return 0

    def parts(self, steps: int) -> list[Part]:
        """Returns what is trained in so many steps; each part has its learning rate."""
        return [Part(self._trained(), self.options.learning_rate, self.adapter_start(steps))]

    def trained_head(self) -> Any:
        """Returns what has been trained beside the adapter, as `Problem.judge` takes a head; None for nothing.

        It is made of the module's parameters and persistent buffers, all that another cell is given of a training.
        """
        return None

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
        self._names = self._trained_names()
        start = min(adapted_layers(self.backbone), default=self.backbone.n_layers - 1)
        self.prepare(self.trainer.datamodule.train_tokens, start)  # type: ignore[attr-defined]

    def on_train_start(self) -> None:
        """Fills the cache and prepares the adapter, whose training may have begun before an interruption."""
        steps = int(self.trainer.estimated_stepping_batches)
        self._adapter_start, self._awake = self.adapter_start(steps), False
        self.backbone.eval()
        self._fill(self._prepared())
        self._wake_adapter()
        self.placed.begin(steps - self._adapter_start)
        self.placed.load_state(self._adapter_state)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Lets the training of the adapter begin when its step has come."""
        if not self._awake:
            self._wake_adapter()

    def training_step(self, batch: Any) -> Tensor:
        """Returns the loss of a batch; where it is undefined, a zero whose step is then skipped.

        Lightning's own way to skip a step, None as its loss, is for one device only.
        """
        place, size = self._place_in_step()
        if place == 0:
            self._step_losses = []
        self.n_tokens += sum(len(self._prepared().tokens[text]) for text in batch.texts)
        with recomputed(self.backbone.layers if self.options.recompute else ()):
            loss = self.loss(batch)
        if loss is None:
            self.skipped_batches += 1
        elif not torch.isfinite(loss):
            raise UserError(f"training: the loss is {loss.item()} at step {self.global_step}; {self.if_not_finite}")
        else:
            self._step_losses.append(loss.detach())
        mean = torch.stack(self._step_losses).mean() if self._step_losses else math.nan
        self.log(LOSS, mean, batch_size=1)  # also of a skipped step, or else the former loss is logged again
        if loss is None:
            return torch.stack([0 * parameter.sum() for parameter in self._trained()]).sum()
        penalty = self.placed.penalty()
        loss = loss if penalty is None else loss + penalty
        # Lightning divides by `accumulate`, also where the last step of an epoch has fewer batches
        return loss if size == self.options.accumulate else loss * (self.options.accumulate / size)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Drops the gradients of a skipped step, and of an adapter that waits: they change nothing then.

        A gradient of zeros would: by weight decay and by the optimizer's means.
        """
        if not self._step_losses:
            optimizer.zero_grad()
        elif not self._awake:
            for parameter in self.backbone.parameters():
                parameter.grad = None

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Lets the adapter act between steps, while the gradients are still there, but not after a skipped one."""
        place, size = self._place_in_step()
        if place == size - 1 and self._step_losses and self._awake:
            self.placed.after_step(self.global_step - 1 - self._adapter_start)

    def on_fit_end(self) -> None:
        """Refuses a training in which every batch was skipped, also if it was resumed: the model is untrained.

        Raises:
            UserError: No batch had a loss.
        """
        if self.skipped_batches and self.skipped_batches == self._epoch_loop.batch_progress.total.completed:
            batches = f"{self.skipped_batches} batches of {self.options.batch_size}"
            raise UserError(f"task.batch_size: all {batches} {self.no_loss}")

    def configure_optimizers(self) -> Any:
        """Returns AdamW with the schedule of the learning rates; None if nothing is trained."""
        if not self._trained():
            return None
        options, steps = self.options, int(self.trainer.estimated_stepping_batches)
        parts = [part for part in self.parts(steps) if part.parameters]
        optimizer = torch.optim.AdamW(
            [{"params": part.parameters, "lr": part.learning_rate} for part in parts], weight_decay=options.weight_decay
        )
        factors = [
            schedule(options.schedule, round(options.warmup * (steps - part.start)), steps, part.start)
            for part in parts
        ]
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, factors), "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what an adapter keeps between steps, the counts, and the seconds so far."""
        checkpoint["adapter"] = self.placed.state()
        checkpoint["skipped_batches"], checkpoint["n_tokens"] = self.skipped_batches, self.n_tokens
        checkpoint["seconds"] = self.seconds_before + time.perf_counter() - self._began

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes them back; the adapter is given its state when the training has begun."""
        self._adapter_state = checkpoint["adapter"]
        self.skipped_batches, self.n_tokens = checkpoint["skipped_batches"], checkpoint["n_tokens"]
        self.seconds_before = checkpoint["seconds"]

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        """Returns the trained parameters only: the pretrained weights are where they came from."""
        trained = self._trained_names() if self._names is None else self._names  # some may rest
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

    def trained_state(self) -> dict[str, Tensor]:
        """Returns copies on the CPU of what a training has changed: trained parameters, and the module's own state."""
        return {name: value.detach().to("cpu", copy=True) for name, value in self._changed().items()}

    def load_trained_state(self, state: Mapping[str, Tensor]) -> None:
        """Makes the module, its adapter placed but untrained, the one whose `trained_state` it is given."""
        expected = set(self._changed())
        if set(state) != expected:
            raise RuntimeError(f"the trained state differs in {sorted(set(state) ^ expected)[:4]}")
        super().load_state_dict(state, strict=False)

    def _changed(self) -> dict[str, Tensor]:
        own = {name: value for name, value in super().state_dict().items() if not name.startswith("backbone.")}
        return self.state_dict() | own

    def _trained_names(self) -> set[str]:
        return {name for name, parameter in self.named_parameters() if parameter.requires_grad}

    def _trained(self) -> list[torch.nn.Parameter]:
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def _wake_adapter(self) -> None:
        """Turns on the dropout of the trained suffix, if wanted, and the adapter's own; the prefix stays as cached."""
        self._awake = self.global_step >= self._adapter_start
        if self._awake:
            if self.options.dropout:
                self.backbone.train_suffix(self._prepared().start)
            self.placed.train_mode()

    @property
    def _epoch_loop(self) -> Any:
        return self.trainer.fit_loop.epoch_loop

    def _place_in_step(self) -> tuple[int, int]:
        """Returns the place of the present batch in its training step, and how many batches make that step."""
        done = self._epoch_loop.batch_progress.current.ready - 1
        place = done % self.options.accumulate
        return place, min(self.options.accumulate, int(self.trainer.num_training_batches) - done + place)

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
