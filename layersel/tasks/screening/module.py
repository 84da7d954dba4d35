"""Contrastive training on pairs of labelled records."""

from typing import ClassVar

from torch import Tensor

from layersel.backbone.backbone import Backbone
from layersel.tasks.screening.datamodule import PairBatch
from layersel.tasks.screening.loss import pairwise_contrastive_loss
from layersel.tasks.screening.options import Screening
from layersel.training.adapter_module import AdapterModule


class ContrastiveScreening(AdapterModule):
    """Trains the adapter on pairs of labelled records; each distinct record of a batch is encoded once."""

    options: Screening

    no_loss: ClassVar[str] = "pairs lacked same-class or different-class pairs; use larger batches"
    if_not_finite: ClassVar[str] = "lower task.learning_rate or raise task.temperature"

    def __init__(self, backbone: Backbone, options: Screening):
        super().__init__(backbone, options)

    def loss(self, batch: PairBatch) -> Tensor | None:
        """Returns the contrastive loss of a batch of pairs; None if all of them, or none, are of one class."""
        left_PD, right_PD = self.vectors(batch.texts)[batch.pairs_P2].unbind(dim=1)
        return pairwise_contrastive_loss(left_PD, right_PD, batch.same_P, self.options.temperature)
