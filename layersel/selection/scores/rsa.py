"""RSA importance: how far a layer changes which texts are alike and which are not."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.errors import one_of
from layersel.selection.representations import RepresentationScore
from layersel.selection.similarity_names import CORRELATION_NAMES, DISTANCE_NAMES

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class RSA(RepresentationScore):
    """Score of layer i = 1 − the correlation of all texts' pairwise dissimilarities before it and behind it.

    Reference: Kriegeskorte et al. 2008, "Representational similarity analysis".
    """

    distance: str = "correlation"
    """Dissimilarity of two texts: correlation (1 - Pearson's r over the units), or euclidean."""
    correlation: str = "spearman"
    """How the dissimilarities are compared: spearman (by their ranks), or pearson."""

    measure: ClassVar[str] = "RSA"

    def kept(self, states_ND: "Tensor") -> "Tensor":
        """Returns the dissimilarity matrix of the texts."""
        from layersel.selection.measures.dissimilarity import DISTANCES
        from layersel.selection.measures.records import checked

        return DISTANCES[self.distance](checked("states", states_ND))

    def sample(self, kept: "Tensor", rows: "slice | Tensor") -> "Tensor":
        """Returns the standardised dissimilarities of every two of these texts."""
        from layersel.selection.measures.dissimilarity import standardised

        return standardised(kept[rows][:, rows], self.correlation)

    def similarity(self, before: "Tensor", after: "Tensor") -> "Tensor":
        """Computes the correlation of standardised dissimilarities."""
        return (before * after).sum().clamp(-1, 1)

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, distance and correlation among them."""
        found = super().problems()
        if self.distance not in DISTANCE_NAMES:
            found.append(str(one_of("selection.distance", self.distance, DISTANCE_NAMES)))
        if self.correlation not in CORRELATION_NAMES:
            found.append(str(one_of("selection.correlation", self.correlation, CORRELATION_NAMES)))
        return found
