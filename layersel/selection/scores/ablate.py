"""Ablation: how much the loss rises when a layer is skipped."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

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

        from layersel.backbone.modes import evaluating

        instead = "; use a score that looks at no loss, such as cka"
        rises = []
        with evaluating(backbone):
            whole = probe.mean_loss(instead)
            for layer in range(backbone.n_layers):
                with backbone.without(layer):
                    rises.append(probe.mean_loss(instead) - whole)
        return LayerScores(torch.tensor(rises, dtype=torch.float64))
