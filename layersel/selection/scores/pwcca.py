"""PWCCA importance: SVCCA's correlations, weighted by what they tell of the layer's input."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.selection.scores.svcca import SVCCA

if TYPE_CHECKING:
    from torch import Tensor

    from layersel.selection.measures.canonical import Truncated


@dataclass
class PWCCA(SVCCA):
    """Score of layer i = 1 − the mean of its canonical correlations, weighted by their directions' shares in its input.

    The weights make it asymmetric; Morcos et al. take them from the representation of fewer dimensions, and of a
    layer's two sides, which are equally wide, this takes the input's: it asks how much of it the layer passes on.

    Reference: Morcos et al. 2018, "Insights on representational similarity in neural networks with canonical
    correlation", section 3.
    """

    def similarity(self, before: "Truncated", after: "Truncated") -> "Tensor":
        """Computes the weighted mean of the canonical correlations."""
        from layersel.selection.measures.canonical import weighted_correlation

        return weighted_correlation(before, after)
