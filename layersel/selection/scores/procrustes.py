"""Procrustes importance: how much of its input's shape a layer's output lacks, whatever the rotation and scale."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.selection.representations import RepresentationScore

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Procrustes(RepresentationScore):
    """Score of layer i = 1 − ‖R_{i−1}ᵀR_i‖_* of the pooled outputs, centred and at Frobenius norm 1.

    Half the orthogonal Procrustes distance of Ding et al. 2021, "Grounding representation similarity with statistical
    testing", who find it more sensitive to what matters than CKA, which the largest components decide.
    """

    measure: ClassVar[str] = "Procrustes"

    def kept(self, states_ND: "Tensor") -> "Tensor":
        """Returns coordinates of the texts, turned so that there are at most as many as texts."""
        from layersel.selection.measures.records import checked, coordinates

        return coordinates(checked("states", states_ND))

    def sample(self, kept: "Tensor", rows: "slice | Tensor") -> "Tensor":
        """Returns the shape of some of the texts."""
        from layersel.selection.measures.procrustes import shape
        from layersel.selection.measures.records import coordinates

        return shape(coordinates(kept[rows]))

    def similarity(self, before: "Tensor", after: "Tensor") -> "Tensor":
        """Computes how far the two shapes coincide when one is turned to the other."""
        from layersel.selection.measures.procrustes import aligned

        return aligned(before, after)
