"""PWCCA importance: SVCCA's correlations, weighted by what they tell of the layer's states."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.selection.scores.svcca import SVCCA

if TYPE_CHECKING:
    from torch import Tensor

    from layersel.selection.measures.canonical import Truncated


@dataclass
class PWCCA(SVCCA):
    """Score of layer i = 1 − the mean of its canonical correlations, weighted by their directions' shares in one side.

    That is the side, input or output, of which fewer directions are kept, the input of two alike: what a layer drops
    altogether does not count. Other implementations (js-d/sim_metric) count it as a correlation of 0.

    Reference: Morcos et al. 2018, "Insights on representational similarity in neural networks with canonical
    correlation", section 3.
    """

    def similarity(self, before: "Truncated", after: "Truncated") -> "Tensor":
        """Computes the weighted mean of the canonical correlations."""
        from layersel.selection.measures.canonical import weighted_correlation

        return weighted_correlation(before, after)
