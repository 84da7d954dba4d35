"""Lets only some of the adapted layers be trained at a time."""

from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import nn

from layersel.selection.regime import Regime


class MovingLayers(Callback):
    """Trains, at each step, the layers that a regime says; the adapters of the others rest as they are.

    A resting parameter requires no gradient, so that the optimizer leaves it alone, and gradients are computed down to
    the lowest trained layer only. After the training all of them require gradients again.

    Args:
        regime: Says which layers.
        seed: Of its draws.
    """

    def __init__(self, regime: Regime, seed: int):
        self.regime = regime
        self.seed = seed
        self._parameters: dict[int, list[nn.Parameter]] = {}
        self._trained: list[int] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finds the parameters of each layer, of which all are trained so far."""
        layers = {index: list(layer.parameters()) for index, layer in enumerate(pl_module.backbone.layers)}  # type: ignore[union-attr, arg-type]
        trained = {index: [own for own in found if own.requires_grad] for index, found in layers.items()}
        self._parameters = {index: found for index, found in trained.items() if found}
        self._trained = list(self._parameters)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Lets the layers of this step be trained.

        Raises:
            UserError: The regime wants more layers than there are.
        """
        if self._parameters:
            self._train(self.regime.layers_at(trainer.global_step, list(self._parameters), self.seed))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lets all layers be trained again."""
        self._train(list(self._parameters))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Lets all layers be trained again."""
        self._train(list(self._parameters))

    def _train(self, layers: list[int]) -> None:
        if layers == self._trained:
            return
        for index, parameters in self._parameters.items():
            for parameter in parameters:
                parameter.requires_grad_(index in layers)
                parameter.grad = None
        self._trained = layers
