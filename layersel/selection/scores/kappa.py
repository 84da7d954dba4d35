"""Kappa: the condition number of a layer's weight matrices, the lowest first."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.selection.score import LayerScores, Measure, Probe

if TYPE_CHECKING:
    from layersel.backbone.backbone import Backbone


@dataclass
class Kappa(Measure):
    """Score of a layer = the mean over its linear modules of v = 1/κ = σ_min/σ_max relative to their type.

    KappaTune adapts the modules of the lowest κ, which are the least specialised; the inverse turns that into the
    highest, and is finite for a singular matrix. A module's score is v/(v + the median of its type over the layers), as
    matrices of other shapes have other κ; the code proposed for PEFT (`utils/target_selection.py`) compares all with
    each other, and takes the lowest fifth. No text is looked at.

    Reference: "KappaTune", arXiv 2506.16289.
    """

    low_is_dispensable: ClassVar[bool] = False

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Computes the singular values of every linear module.

        Raises:
            UserError: A layer has no linear modules, or a weight is zero or not finite.
        """
        from layersel.backbone.layers import weight_OI
        from layersel.selection.measures.spectra import inverse_condition
        from layersel.selection.module_types import scores_within_types

        return scores_within_types(backbone, self.name, lambda module: inverse_condition(weight_OI(module)))
