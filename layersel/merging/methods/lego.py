"""LoRA-LEGO: cluster the rank-one units of all adapters and build the result from the centroids."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.merging.method import Changes, MergeMethod

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass
class Lego(MergeMethod):
    """k-means of the units m = [A_j ; B_:,j] of all adapters; each centroid becomes one rank of the result.

    A centroid μ is rescaled to the mean length of its members, and the result by √(r/k), with r the mean rank of the
    adapters that change the module and k the number of centroids: the wanted rank, or that of distinct units if there
    are fewer. With k = r, merging one adapter, or A with A, returns it. A change without low-rank factors gives the
    first k of its SVD. A unit and its negative make the same rank-one change but are far apart; like the paper, this
    does not join them.

    Reference: Zhao et al. 2025, "Merging LoRAs like playing LEGO": clustering, parameter and output reweighting. That r
    is the mean of differing ranks is this project's reading.
    """

    restarts: int = 10
    """Starts of k-means by k-means++, of which the tightest clustering is kept."""

    def merge(self, changes: Changes, generator: "torch.Generator") -> "dict[str, Tensor]":
        """Clusters the units and rebuilds each module from the centroids."""
        from layersel.merging.clusters import merged_units

        return {name: merged_units(changes[name], self.rank, self.restarts, generator) for name in sorted(changes)}

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, the number of starts among them."""
        wrong = f"merging.restarts: expected at least 1, but got {self.restarts}"
        return super().problems() + ([] if self.restarts >= 1 else [wrong])
