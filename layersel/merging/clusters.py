"""Clusters of the rank-one units of low-rank changes (LoRA-LEGO)."""

import math
from collections.abc import Sequence

import torch
from sklearn.cluster import KMeans
from torch import Tensor

from layersel.adapters.change import Change
from layersel.adapters.factoring import svd_of

# Shapes: K clusters, U units, D = I + O of O outputs and I inputs of a weight matrix.


def merged_units(changes_T: Sequence[Change], rank: int | None, restarts: int, generator: torch.Generator) -> Tensor:
    """Returns ΔW (O×I, float64) with one rank for each cluster of the units of all changes.

    Args:
        changes_T: The changes of one module.
        rank: The number of clusters; None for that of distinct units.
        restarts: The number of starts of k-means, of which the tightest clustering is kept.
        generator: Seeds the starts.
    """
    pools = [pool for change in changes_T if len(pool := units(change, rank))]
    outputs, inputs = changes_T[0].dense.shape
    if not pools:
        return torch.zeros(outputs, inputs, dtype=torch.float64)
    units_UD, seed = torch.cat(pools), int(torch.randint(2**31, (), generator=generator))
    distinct = len(torch.unique(units_UD, dim=0))
    k = distinct if rank is None else min(rank, distinct)
    labels_U = torch.from_numpy(KMeans(k, n_init=restarts, random_state=seed).fit(units_UD.numpy()).labels_)
    centroids_KD = torch.stack([rescaled_centroid(units_UD[labels_U == label]) for label in range(k)])
    down_KI, up_KO = torch.split(centroids_KD, [inputs, outputs], dim=1)
    mean_rank = sum(len(pool) for pool in pools) / len(pools)
    return up_KO.T @ down_KI * math.sqrt(mean_rank / k)


def units(change: Change, rank: int | None) -> Tensor:
    """Returns the rank-one units [A_j ; B_:,j] of a change (U×D, float64).

    One without factors has those of the first `rank` terms of its SVD, None for all: as many units as a weight matrix
    has columns would be joined into few, and these made longer by √(columns/rank).
    """
    up_OR, down_RI = change.factors or svd_of(change).cut(rank).balanced()
    return torch.cat([down_RI.double(), up_OR.double().T], dim=1)


def rescaled_centroid(members_UD: Tensor) -> Tensor:
    """Returns the mean of the members (D), as long as they are on average; zero where they cancel out.

    Example:
        >>> rescaled_centroid(torch.tensor([[3.0, 0.0], [0.0, 3.0]]))
        tensor([2.1213, 2.1213])
    """
    centroid_D = members_UD.mean(0)
    length = centroid_D.norm()
    return centroid_D * (members_UD.norm(dim=1).mean() / length if length > 0 else 0.0)
