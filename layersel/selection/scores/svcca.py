"""SVCCA importance: how far a layer moves the space that the leading components of its input span."""

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

from layersel.selection.representations import RepresentationScore
from layersel.terminal.tables import note

if TYPE_CHECKING:
    from torch import Tensor

    from layersel.selection.measures.canonical import Truncated


@dataclass
class SVCCA(RepresentationScore):
    """Score of layer i = 1 − the mean canonical correlation of its input and output, truncated to leading directions.

    The resamples keep the directions that the whole probe has.

    Reference: Raghu et al. 2017, "SVCCA: Singular vector canonical correlation analysis for deep learning dynamics and
    interpretability".
    """

    variance: float = 0.99
    """Share of the variance that the directions hold which are kept; fewer than the texts have they must be."""

    measure: ClassVar[str] = "CCA"

    def kept(self, states_ND: "Tensor") -> "Truncated":
        """Returns the leading principal directions of the texts."""
        from layersel.selection.measures.canonical import truncated
        from layersel.selection.measures.records import checked

        return truncated(checked("states", states_ND), self.variance)

    def sample(self, kept: "Truncated", rows: "slice | Tensor") -> "Truncated":
        """Returns the directions among some of the texts."""
        return kept.of(rows)

    def similarity(self, before: "Truncated", after: "Truncated") -> "Tensor":
        """Computes the mean of the canonical correlations."""
        from layersel.selection.measures.canonical import mean_correlation

        return mean_correlation(before, after)

    def check(self, kept: "list[Truncated]", n_texts: int) -> int:
        """Tells how many correlations are 1 whatever the states; returns two more texts than there are directions.

        Raises:
            UserError: All of them are.
        """
        from layersel.selection.measures.canonical import check_directions

        counts = [len(own.loadings_KD) for own in kept]
        check_directions(max(counts), n_texts, self.variance, "selection.variance")
        certain = max(one + other - (n_texts - 1) for one, other in pairwise(counts))
        if certain > 0:
            note(
                f"probe: of {max(counts)} canonical correlations up to {certain} are 1 whatever a layer does, as "
                f"{n_texts} texts have {n_texts - 1} directions; use more texts, or a smaller selection.variance",
                once=True,
            )
        return max(counts) + 2

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, no share of the variance among them."""
        found = super().problems()
        if not 0 < self.variance <= 1:
            found.append(f"selection.variance: expected a share above 0, at most 1, but got {self.variance:g}")
        return found
