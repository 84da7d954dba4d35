"""Lets only some of the adapted layers be trained at a time."""

from collections.abc import Collection
from contextlib import ExitStack
from functools import partial
from typing import Any, Protocol, cast

from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn

from layersel.adapters.placed import PeftPlaced
from layersel.backbone.backbone import Backbone
from layersel.backbone.modes import adapters_off, adapters_scaled, evaluating
from layersel.callbacks.best_weights import BestWeights
from layersel.selection.regime import AfterStep, Regime, State


class Adapted(Protocol):
    """A module that trains an adapter; one of another kind than PEFT's suits the regimes that only let layers rest."""

    backbone: Backbone
    placed: PeftPlaced

    def adapter_start(self, steps: int) -> int:
        """Returns the step, out of so many, at which the training of the adapter begins."""

    def loss(self, batch: Any) -> Tensor | None:
        """Returns the loss of a batch; None where it is undefined."""


class MovingLayers(Callback):
    """Trains, at each step, the layers that a regime says; the adapters of the others rest as they are.

    A resting parameter requires no gradient, so that the optimizer leaves it alone, and gradients are computed down to
    the lowest trained layer only. After the training all of them require gradients again. Adapters that a regime has
    switched off for good are taken out then. What the regime has found is in the checkpoint.

    Args:
        regime: Says which layers.
        seed: Of its draws.

    Attributes:
        state: What the regime has found so far.
    """

    def __init__(self, regime: Regime, seed: int):
        self.regime = regime
        self.seed = seed
        self.state: State = {}
        self._parameters: dict[int, list[nn.Parameter]] = {}
        self._trained: list[int] = []
        self._off = ExitStack()
        self._start = self._steps = self._done = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finds the parameters of each layer, of which all are trained so far.

        Raises:
            UserError: The regime wants more layers or steps than there are.
        """
        module = cast("Adapted", pl_module)
        layers = {index: list(layer.parameters()) for index, layer in enumerate(module.backbone.layers)}
        trained = {index: [own for own in found if own.requires_grad] for index, found in layers.items()}
        self._parameters = {index: found for index, found in trained.items() if found}
        self._trained = list(self._parameters)
        total = int(trainer.estimated_stepping_batches)
        self._start = module.adapter_start(total)
        self._steps = total - self._start
        if not self._parameters:
            return
        self.regime.check(len(self._parameters), self._steps)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, BestWeights):
                callback.first_step = self._start + self.regime.settled(self._steps)
        self._switch_off(trainer, module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Lets the layers of this step be trained."""
        self._done = trainer.global_step - self._start
        if self._parameters and self._done >= 0:
            self._train(self.regime.layers_at(self._done, list(self._parameters), self.seed, self.state))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Lets the regime look at what a step has done, once all its batches are.

        Raises:
            UserError: It has nothing to go on from.
        """
        done = trainer.global_step - self._start
        if not self._parameters or done <= max(self._done, 0):
            return
        module = cast("Adapted", pl_module)
        trained = AfterStep(
            module.backbone,
            list(self._parameters),
            self._steps,
            lambda: module.placed.squared_changes(),  # noqa: PLW0108 - not every kind of adapter has it
            partial(self._loss, trainer, pl_module, batch),
        )
        before, self.state = self.state, self.regime.after_step(done, self.seed, self.state, trained)
        if self.state != before:
            self._switch_off(trainer, module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lets all layers be trained again."""
        self._release()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Lets all layers be trained again."""
        self._release()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Takes out the adapters that are switched off for good; until here, weights are loaded by their names."""
        placed = cast("Adapted", pl_module).placed
        kept = self.regime.carriers(placed.layers, self.state)
        if kept != placed.layers:
            placed.keep(kept)

    def state_dict(self) -> dict[str, Any]:
        """Returns what the regime has found, for checkpoints."""
        return dict(self.state)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up an earlier state."""
        self.state = state_dict

    def _train(self, layers: list[int]) -> None:
        if layers == self._trained:
            return
        for index, parameters in self._parameters.items():
            for parameter in parameters:
                parameter.requires_grad_(index in layers)
                parameter.grad = None
        self._trained = layers

    def _switch_off(self, trainer: Trainer, module: Adapted) -> None:
        """Switches off the adapters that the regime wants no more, and forgets what the optimizer knows of them."""
        layers = list(self._parameters)
        self._off.close()
        for layer in sorted(set(layers) - set(self.regime.carriers(layers, self.state))):
            self._off.enter_context(adapters_off(module.backbone.layers[layer]))
            for optimizer in trainer.optimizers:
                for parameter in self._parameters[layer]:
                    optimizer.state.pop(parameter, None)

    def _release(self) -> None:
        self._off.close()
        self._train(list(self._parameters))

    def _loss(
        self, trainer: Trainer, module: LightningModule, batch: Any, layers: Collection[int], factor: float
    ) -> float | None:
        """Computes the loss of a batch while the adapters of some layers add `factor` times what they add."""
        adapted = cast("Adapted", module)
        parts = [adapted.backbone.layers[layer] for layer in layers]
        with evaluating(module), adapters_scaled(parts, factor), trainer.precision_plugin.forward_context():
            loss = adapted.loss(batch)
        return None if loss is None else float(loss)
