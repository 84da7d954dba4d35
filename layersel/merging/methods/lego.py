"""LoRA-LEGO: cluster the rank-one units of all adapters and build the result from the centroids."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sklearn.cluster import KMeans
from torch import Tensor

from layersel.adapters.change import Change
from layersel.merging.factoring import svd_of
from layersel.merging.method import Changes, MergeMethod

# Shapes: K clusters, U units, D = I + O.


@dataclass
class Lego(MergeMethod):
    """k-means of the units m = [A_j ; B_:,j] of all adapters; each centroid becomes one rank of the result.

    A centroid μ is rescaled to the mean length of its members, and the result by √(r/k), with r the mean rank of the
    adapters that change the module and k the number of centroids: the wanted rank, or that of distinct units if there
    are fewer. With k = r, merging one adapter, or A with A, returns it. A change without low-rank factors gives those
    of its SVD. A unit and its negative make the same rank-one change but are far apart; like the paper, this does not
    join them.

    Reference: Zhao et al. 2025, "Merging LoRAs like playing LEGO": clustering, parameter and output reweighting. That r
    is the mean of differing ranks is this project's reading.
    """

    restarts: int = 10
    """Starts of k-means by k-means++, of which the tightest clustering is kept."""

    def merge(self, changes: Changes, generator: torch.Generator) -> dict[str, Tensor]:
        """Cluster and rebuild, module by module."""
        return {name: self._merged(changes[name], generator) for name in sorted(changes)}

    def _merged(self, changes_T: Sequence[Change], generator: torch.Generator) -> Tensor:
        pools = [pool for change in changes_T if len(pool := units(change))]
        outputs, inputs = changes_T[0].dense.shape
        if not pools:
            return torch.zeros(outputs, inputs, dtype=torch.float64)
        seed = int(torch.randint(2**31, (), generator=generator))
        centroids_KD = self._centroids(torch.cat(pools), seed)
        down_KI, up_KO = torch.split(centroids_KD, [inputs, outputs], dim=1)
        rank = sum(len(pool) for pool in pools) / len(pools)
        return up_KO.T @ down_KI * math.sqrt(rank / len(centroids_KD))

    def _centroids(self, units_UD: Tensor, seed: int) -> Tensor:
        distinct = len(torch.unique(units_UD, dim=0))
        k = distinct if self.rank is None else min(self.rank, distinct)
        means = KMeans(k, n_init=self.restarts, random_state=seed).fit(units_UD.numpy())
        labels_U = torch.from_numpy(means.labels_)
        return torch.stack([rescaled_centroid(units_UD[labels_U == label]) for label in range(k)])

    def problems(self) -> list[str]:
        """As `MergeMethod.problems`, and the number of starts."""
        wrong = f"merging.restarts: expected at least 1, but got {self.restarts}"
        return super().problems() + ([] if self.restarts >= 1 else [wrong])


def units(change: Change) -> Tensor:
    """The rank-one units [A_j ; B_:,j] of a change (U×D, float64)."""
    up_OR, down_RI = svd_of(change).balanced() if change.factors is None else change.factors
    return torch.cat([down_RI.double(), up_OR.double().T], dim=1)


def rescaled_centroid(members_UD: Tensor) -> Tensor:
    """The mean of the members (D), as long as they are on average; zero where they cancel out.

    Example:
        >>> rescaled_centroid(torch.tensor([[3.0, 0.0], [0.0, 3.0]]))
        tensor([2.1213, 2.1213])
    """
    centroid_D = members_UD.mean(0)
    length = centroid_D.norm()
    return centroid_D * (members_UD.norm(dim=1).mean() / length if length > 0 else 0.0)
