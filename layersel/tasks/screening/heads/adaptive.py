"""Several heads' rankings as one, each weighted by how well it finds included records that are left out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from layersel.tasks.screening.heads.fusion import Fusion
from layersel.tasks.screening.heads.head import Head

if TYPE_CHECKING:
    from torch import Tensor

    from layersel.tasks.screening.heads.examples import Examples
    from layersel.tasks.screening.heads.pool import Pool


@dataclass
class Adaptive(Fusion):
    """The weighted sum of what several heads, its views, say of each record.

    Views, weights and their sharpness were chosen on three reviews that stand in no table of results: PTSD trajectories
    (van de Schoot 2017), nudging in health care (Nagtegaal 2019), animal models of depression (Bannach-Brown 2019).
    """

    views: list[str] = field(
        default_factory=lambda: ["spreading", "spreading_vectors", "spreading_tfidf", "svm", "elas_u4"]
    )
    """The heads, with the options that their files in conf/task/head give them."""

    def weights(self, heads: Sequence[Head], examples: "Examples", pool: "Pool") -> "Tensor":
        """Returns by how much each view (V) counts for a pool: the more, the higher it ranks left-out examples."""
        from layersel.tasks.screening.heads.fusing import left_out_weights

        return left_out_weights(heads, examples, pool)
