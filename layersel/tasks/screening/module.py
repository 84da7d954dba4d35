"""Contrastive training on the records of a review."""

from torch import Tensor

from layersel.backbone.backbone import Backbone
from layersel.tasks.screening.losses.loss import Batch
from layersel.tasks.screening.options import Screening
from layersel.training.adapter_module import AdapterModule


class ContrastiveScreening(AdapterModule):
    """Trains the adapter by the task's loss of the vectors; each distinct text of a batch is encoded once."""

    options: Screening

    def __init__(self, backbone: Backbone, options: Screening):
        super().__init__(backbone, options)
        self.no_loss = options.loss.no_loss
        self.if_not_finite = "lower task.learning_rate or raise task.loss.temperature"

    def loss(self, batch: Batch) -> Tensor | None:
        """Returns the loss of a batch; None where it is undefined."""
        return self.options.loss.of(self.vectors(batch.texts), batch)
