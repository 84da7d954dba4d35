"""What scores share that are the rise of the loss when a layer is without what it does, or has learnt."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from layersel.selection.resampled import ResampledScore
from layersel.selection.score import LabelledScore, LayerScores, Probe
from layersel.terminal.progress import progress

if TYPE_CHECKING:
    from torch import Tensor

    from layersel.backbone.backbone import Backbone

# Shapes: L layers, N labelled batches that have a loss.


@dataclass
class LossRiseScore(ResampledScore, LabelledScore):
    """Score of a layer = the mean loss over labelled batches without something of the layer, less that of the whole.

    Its resamples are of the rises of single batches, each of which counts as much as any other.
    """

    def risen(
        self,
        backbone: "Backbone",
        probe: Probe,
        without: Callable[[int], AbstractContextManager[object]],
        if_not_finite: str,
        of: "Callable[[Any], Tensor | None] | None" = None,
    ) -> LayerScores:
        """Computes the losses as it is, and without each layer.

        Args:
            backbone: The model.
            probe: The labelled batches, the loss and the generator.
            without: Makes a block for the index of a layer, within which the layer is without what is asked about.
            if_not_finite: What ends the line on a loss that is not finite.
            of: Gives the loss of a batch; None is the probe's own.

        Raises:
            UserError: The loss is undefined for all batches, or not finite.
        """
        import torch

        from layersel.backbone.modes import evaluating

        values, parts = [], []
        with evaluating(backbone):
            whole = probe.finite_losses(if_not_finite, of)
            for layer in progress(range(backbone.n_layers), "leaving layers out"):
                with without(layer):
                    losses = probe.finite_losses(if_not_finite, of)
                values.append(math.fsum(losses) / len(losses) - math.fsum(whole) / len(whole))
                parts.append([loss - before for loss, before in zip(losses, whole, strict=True)])
        resampled_SL = self.resampled_means(torch.tensor(parts, dtype=torch.float64), probe.generator)
        return LayerScores(torch.tensor(values, dtype=torch.float64), resampled_SL=resampled_SL)
