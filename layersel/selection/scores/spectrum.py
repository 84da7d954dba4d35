"""Spectrum: the signal-to-noise ratio of a layer's weight matrices."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.selection.score import LayerScores, Measure, Probe

if TYPE_CHECKING:
    from layersel.backbone.backbone import Backbone


@dataclass
class Spectrum(Measure):
    """Score of a layer = the mean over its linear modules of their signal-to-noise ratio v relative to their type.

    The signal are the singular values above the Marchenko–Pastur threshold; the highest ratios are adapted. Spectrum
    chooses the same share of modules of each type; here a module's score is v/(v + the median of its type over the
    layers), so that .5 is the median. No text is looked at.

    The published code departs where no singular value is noise: it takes the noise as 1, whatever the weights' scale.
    Here such a matrix has an infinite ratio, and the score 1.

    Reference: Hartford et al. 2024, "Spectrum: Targeted training on signal to noise ratio".
    """

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Computes the singular values of every linear module.

        Raises:
            UserError: A layer has no linear modules, or a weight is zero or not finite.
        """
        from layersel.backbone.layers import weight_OI
        from layersel.selection.measures.spectra import signal_to_noise
        from layersel.selection.module_types import scores_within_types

        return scores_within_types(backbone, self.name, lambda module: signal_to_noise(weight_OI(module)))
