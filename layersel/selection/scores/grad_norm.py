"""Gradient norm: how strongly the task's loss pulls at the pretrained matrices of a layer."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.selection.score import LabelledScore, LayerScores, Probe

if TYPE_CHECKING:
    from layersel.backbone.backbone import Backbone


@dataclass
class GradNorm(LabelledScore):
    """Score of a layer = the sum over its weight matrices W of ‖∇_W L‖_F, L the mean loss over labelled batches.

    This is the plain gradient norm of the pretrained model, before any training, with biases and norms left out. It is
    the first-order cousin of the sensitivity |w·∂L/∂w| of Molchanov et al. 2019, "Importance estimation for neural
    network pruning", equation 8, which weighs each gradient by its parameter.

    It has no resamples, which `relative_grad_norm` has: the norm of a mean is known of no number of each batch, so that
    the gradients of all batches would have to be kept, each as large as the matrices.
    """

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Sums the norms of each layer's gradients.

        Raises:
            UserError: The loss is undefined for all batches, or a gradient is not finite.
        """
        from layersel.selection.gradients import mean_gradients, summed_scores

        gradients = mean_gradients(backbone, probe)
        return summed_scores(backbone, {name: float(own.norm()) for name, own in gradients.items()})
