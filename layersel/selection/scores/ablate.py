"""Ablation: how much the loss rises when a layer is skipped."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.selection.loss_rises import LossRiseScore
from layersel.selection.score import LABELS, LayerScores, Probe

if TYPE_CHECKING:
    from layersel.backbone.backbone import Backbone


@dataclass
class Ablate(LossRiseScore):
    """Score of a layer = the mean loss over labelled batches without the layer, less that of the whole model.

    What enters the layer is passed on to the next one, as in the lesion study of Veit et al. 2016, "Residual networks
    behave like ensembles of relatively shallow networks". It needs no gradients, and one forward pass over the batches
    for each layer beside that of the whole model. A score below 0 is that of a layer which harms the loss.

    With `per_example` the mean is over examples, and so are the resamples. Where a loss compares texts with each other
    there is none of a single text, and the batch stays the smallest unit (`TrainingData.examples`).
    """

    per_example: bool = False
    """Each example of the labelled batches is a batch of its own, where the task has a loss for one."""

    needs: ClassVar[frozenset[str]] = frozenset({LABELS})

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Computes the loss of the whole model and of the model without each layer.

        Raises:
            UserError: The loss is undefined for all batches, or not finite, or the model has layers that pass each
                other more than hidden states.
        """
        return self.risen(backbone, probe, backbone.without, "; use a score that looks at no loss, such as cka")
