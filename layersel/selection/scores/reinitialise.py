"""Re-initialisation: what the loss rises by when a trained layer goes back to where it started (Zhang et al. 2022)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.selection.score import LABELS, LabelledScore, LayerScores, Probe, WarmUpScore

if TYPE_CHECKING:
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

        advice = " after the warm-up; lower task.learning_rate"
        with self.warmed_up(probe) as warm, evaluating(backbone):
            whole = probe.mean_loss(advice, warm.loss)
            values = []
            for layer in progress(range(backbone.n_layers), "putting layers back"):
                with warm.without(layer):
                    values.append(probe.mean_loss(advice, warm.loss) - whole)
        return LayerScores(torch.tensor(values, dtype=torch.float64))
