"""Ends a training that no longer gets better on held-out examples, and takes the weights with which it was best."""

from typing import Any, Protocol

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from layersel.backbone.modes import evaluating

VALIDATION_LOSS = "validation/loss"
"""The name under which the loss of the validation examples is logged after each epoch."""


class Validated(Protocol):
    """A module that has validation examples."""

    def validation_loss(self) -> float:
        """Returns the loss of the validation examples."""


class BestWeights(Callback):
    """Keeps the trained parameters of the epoch with the least validation loss; the first one of equals.

    All that it knows is in the checkpoint, so that a training that goes on from one ends as if it had not been
    interrupted.

    Args:
        patience: Epochs without a lower loss after which the training ends.

    Attributes:
        first_step: Epochs that end before it do not count, as the model is still to become another one.
    """

    def __init__(self, patience: int):
        self.patience = patience
        self.first_step = 0
        self.best: float | None = None
        self.waited = 0
        self.weights: dict[str, Tensor] = {}

    @property
    def stops(self) -> bool:
        """Returns whether there has been no lower loss for long enough."""
        return self.waited >= self.patience

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ends a training at once that had ended before it was interrupted."""
        trainer.should_stop = self.stops

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measures, keeps the weights if they are the best so far, and ends the training if they are no longer."""
        loss = self._loss(pl_module)
        pl_module.log(VALIDATION_LOSS, loss, batch_size=1)
        if trainer.global_step < self.first_step:
            return
        if self.best is None or loss < self.best:
            self.best, self.waited = loss, 0
            self.weights = {name: value.detach().cpu().clone() for name, value in pl_module.state_dict().items()}
        else:
            self.waited += 1
        trainer.should_stop = self.stops

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes the best weights."""
        if self.weights:
            pl_module.load_state_dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        """Returns all of it, for checkpoints."""
        return {"best": self.best, "waited": self.waited, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up an earlier state."""
        self.best, self.waited, self.weights = state_dict["best"], state_dict["waited"], state_dict["weights"]

    def _loss(self, module: Any) -> float:
        """Returns the validation loss, without dropout; the modes of all modules are as before afterwards."""
        validated: Validated = module
        with evaluating(module):
            return validated.validation_loss()
