"""Re-initialisation: what the loss rises by when a trained layer goes back to where it started (Zhang et al. 2022)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.selection.loss_rises import LossRiseScore
from layersel.selection.score import LABELS, LayerScores, Probe, WarmUpScore

if TYPE_CHECKING:
    from layersel.backbone.backbone import Backbone


@dataclass
class Reinitialise(WarmUpScore, LossRiseScore):
    """Score of a layer = the loss after a warm-up with that layer's pretrained weights − the loss as it is.

    Both are means over labelled batches. Layers whose loss rises are critical, those that could as well not have been
    trained are robust; below 0 the layer was better off before. The paper trains from random values and measures the
    test error; here the initial values are the pretrained ones, and the loss is that of texts which are learnt from,
    since no choice may look at those that are judged on. The resamples are of the batches whose loss is taken; the
    warm-up stays the same.

    Reference: Zhang, Bengio and Singer 2022, "Are all layers created equal?", section 3 (re-initialisation).
    """

    needs: ClassVar[frozenset[str]] = WarmUpScore.needs | {LABELS}

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Trains, then takes the loss of all batches once as it is and once for each layer.

        Raises:
            UserError: The warm-up fails, the loss is undefined for all batches, or it is not finite.
        """
        advice = " after the warm-up; lower task.learning_rate"
        with self.warmed_up(probe) as warm:
            return self.risen(backbone, probe, warm.without, advice, warm.loss)
