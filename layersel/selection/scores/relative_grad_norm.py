"""Relative gradient norm: how strongly the loss pulls at a layer, for the size of the layer's weights."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.selection.resampled import ResampledScore
from layersel.selection.score import LabelledScore, LayerScores, Probe

if TYPE_CHECKING:
    from torch import Tensor

    from layersel.backbone.backbone import Backbone


@dataclass
class RelativeGradNorm(ResampledScore, LabelledScore):
    """Score of a layer = the mean over labelled batches of ‖g‖/‖θ‖, over all of its weight matrices together.

    This is the relative gradient norm by which Lee et al. 2023, "Surgical fine-tuning improves adaptation to
    distribution shifts", set the learning rates of layers (Auto-RGN). Their code (anniesch/surgical-finetuning) takes
    the ratio of each batch too and averages over five of them, but of each parameter alone, biases included, where the
    paper speaks of layers. Biases and norms are left out here, as in `grad_norm`.
    """

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Averages the ratios; a linear module's score is that of its own weight.

        Raises:
            UserError: The loss is undefined for all batches, or a gradient is not finite.
        """
        import torch

        from layersel.backbone.layers import linear_modules
        from layersel.selection.gradients import layer_matrices, squared_norm, squared_norms

        layers = layer_matrices(backbone)
        gradients = squared_norms(backbone, probe)
        weights = {name: squared_norm(own.detach()) for layer in layers for name, own in layer.items()}

        def ratios(names: "Iterable[str]") -> "Tensor":
            squares_N = torch.stack([gradients[name] for name in names]).sum(dim=0)
            return (squares_N / sum(weights[name] for name in names)).sqrt()

        parts_LN = torch.stack([ratios(layer) for layer in layers])
        modules = {name: float(ratios([name]).mean()) for name in linear_modules(backbone.model)}
        values_L = torch.stack([own_N.mean() for own_N in parts_LN])
        return LayerScores(values_L, resampled_SL=self.resampled_means(parts_LN, probe.generator), modules=modules)
