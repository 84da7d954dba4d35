"""The progress bar of training."""

from typing import Any

from lightning import Callback, LightningModule, Trainer

from layersel.terminal.progress import progress


class TrainingProgress(Callback):
    """Shows the steps done and the loss, on a terminal and after two seconds only.

    Args:
        what: The name of the bar.
    """

    def __init__(self, what: str = "training"):
        self.what = what

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Opens the bar at the step from which the training goes on."""
        self.bar = progress(range(int(trainer.estimated_stepping_batches)), self.what, unit=" steps")
        self.bar.update(trainer.global_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Moves the bar on to the steps that are done."""
        self.bar.update(trainer.global_step - self.bar.n)
        if isinstance(outputs, dict) and "loss" in outputs:
            self.bar.set_postfix(loss=f"{float(outputs['loss']):.3f}", refresh=False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Closes the bar."""
        self.bar.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Closes the bar, so that the error starts on a line of its own."""
        if hasattr(self, "bar"):
            self.bar.close()
