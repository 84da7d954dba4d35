"""Ablation: how much the loss rises when a layer is skipped."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.errors import UserError
from layersel.selection.score import LABELS, LabelledScore, LayerScores, Probe

if TYPE_CHECKING:
    from layersel.backbone.backbone import Backbone


@dataclass
class Ablate(LabelledScore):
    """Score of a layer = the mean loss over labelled batches without the layer, less that of the whole model.

    What enters the layer is passed on to the next one, as in the lesion study of Veit et al. 2016, "Residual networks
    behave like ensembles of relatively shallow networks". It needs no gradients, and one forward pass over the batches
    for each layer beside that of the whole model. A score below 0 is that of a layer which harms the loss.
    """

    needs: ClassVar[frozenset[str]] = frozenset({LABELS})

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Computes the loss of the whole model and of the model without each layer.

        Raises:
            UserError: The loss is undefined for all batches, or not finite, or the model has layers that pass each
                other more than hidden states.
        """
        import torch

        whole = mean_loss(backbone, probe)
        rises = []
        for layer in range(backbone.n_layers):
            with backbone.without(layer):
                rises.append(mean_loss(backbone, probe) - whole)
        return LayerScores(torch.tensor(rises, dtype=torch.float64))


def mean_loss(backbone: "Backbone", probe: Probe) -> float:
    """Computes the mean loss over the labelled batches, in evaluation mode and without gradients.

    Raises:
        UserError: It is undefined for all batches, or not finite.
    """
    from layersel.backbone.modes import evaluating

    with evaluating(backbone):
        losses = [float(loss) for loss in probe.losses()]
    mean = math.fsum(losses) / len(losses)
    if not math.isfinite(mean):
        raise UserError("selection: the loss is not finite; use a score that looks at no loss, such as cka")
    return mean
