"""Re-initialisation: what the loss rises by when a trained layer goes back to where it started (Zhang et al. 2022)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from layersel.errors import UserError
from layersel.selection.score import LABELS, LabelledScore, LayerScores, Probe, WarmUpScore

if TYPE_CHECKING:
    from torch import Tensor

    from layersel.backbone.backbone import Backbone


@dataclass
class Reinitialise(WarmUpScore, LabelledScore):
    """Score of a layer = the loss after a warm-up with that layer's pretrained weights − the loss as it is.

    Both are means over labelled batches. Layers whose loss rises are critical, those that could as well not have been
    trained are robust; below 0 the layer was better off before. The paper trains from random values and measures the
    test error; here the initial values are the pretrained ones, and the loss is that of texts which are learnt from,
    since no choice may look at those that are judged on.

    Reference: Zhang, Bengio and Singer 2022, "Are all layers created equal?", section 3 (re-initialisation).
    """

    needs: ClassVar[frozenset[str]] = WarmUpScore.needs | {LABELS}

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Trains, then takes the loss of all batches once as it is and once for each layer.

        Raises:
            UserError: The warm-up fails, the loss is undefined for all batches, or it is not finite.
        """
        import torch

        from layersel.backbone.modes import evaluating
        from layersel.terminal.progress import progress

        with self.warmed_up(probe) as warm, evaluating(backbone):
            whole = _mean_loss(warm.loss, probe)
            values = []
            for layer in progress(range(backbone.n_layers), "putting layers back"):
                with warm.without(layer):
                    values.append(_mean_loss(warm.loss, probe) - whole)
        return LayerScores(torch.tensor(values, dtype=torch.float64))


def _mean_loss(loss: "Callable[[Any], Tensor | None]", probe: Probe) -> float:
    losses = [float(own) for batch in probe.labelled if (own := loss(batch)) is not None]
    if not losses:
        raise UserError("selection.batches: no labelled batch has a loss; use more of them, or larger ones")
    if not all(map(math.isfinite, losses)):
        raise UserError("selection: the loss is not finite after the warm-up; lower task.learning_rate")
    return math.fsum(losses) / len(losses)
