"""PAGE: the gradient that a new LoRA of a layer would have."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.selection.resampled import ResampledScore
from layersel.selection.score import LabelledScore, LayerScores, Probe

if TYPE_CHECKING:
    from layersel.backbone.backbone import Backbone


@dataclass
class Page(ResampledScore, LabelledScore):
    """Score of a layer = the expected squared gradient of LoRA's B at B = 0, summed over its linear modules.

    It is the projected adapter gradient energy of Zhang et al. 2026, "Rethinking adapter placement: a dominant
    adaptation module perspective", which is derived here as follows. With W + s·BA the gradient of B (O×r) at B = 0 is
    s·G·Aᵀ, G (O×I) the gradient of W. PEFT draws the entries of A (r×I) from Kaiming's uniform distribution with
    a = √5, that is between ±1/√I, so that their variance is 1/(3I) and E_A‖s·G·Aᵀ‖² = s²·r·‖G‖²/(3I). What is the
    same for all modules of equal rank, s²·r, is left out: a module's score is the mean over labelled batches of
    ‖G‖²/(3I), I its inputs. At B = 0 the gradient of A is zero, so this is all that the first step of a training has.

    It favours modules with few inputs over `grad_norm`. A module of fused projections counts with the inputs that it
    has, whichever way it keeps its weight (Conv1D of GPT-2 turns it).
    """

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Averages the squared norms and divides them by the inputs.

        Raises:
            UserError: A layer has no linear modules, the loss is undefined for all batches, or a gradient is not
                finite.
        """
        from layersel.backbone.layers import weight_OI
        from layersel.selection.gradients import layer_sums, squared_norms, summed_scores
        from layersel.selection.module_types import linear_layers

        layers = linear_layers(backbone, self.name)
        squares = squared_norms(backbone, probe)
        inputs = {name: weight_OI(module).shape[1] for own in layers for name, module in own.items()}
        parts = {name: squares[name] / (3 * own) for name, own in inputs.items()}
        resampled_SL = self.resampled_means(layer_sums(backbone, parts), probe.generator)
        values = {name: float(squares[name].mean()) / (3 * own) for name, own in inputs.items()}
        return summed_scores(backbone, values, resampled_SL)
