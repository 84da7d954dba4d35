"""Representational similarity analysis (RSA): whether two representations set the same records apart.

References:
    Kriegeskorte et al. 2008, Representational similarity analysis: connecting the branches of systems neuroscience
    (dissimilarity = 1 − Pearson's correlation over the units; matrices compared by Spearman's rank correlation).
"""

import torch
from scipy.stats import rankdata
from torch import Tensor

from layersel.errors import one_of
from layersel.selection.measures.records import checked_pair
from layersel.selection.similarity_names import CORRELATION_NAMES, DISTANCE_NAMES

# Shapes: N records, D dimensions, P = N(N − 1)/2 dissimilarities.


def rsa(x_ND: Tensor, y_ND: Tensor, distance: str = "correlation", correlation: str = "spearman") -> Tensor:
    """Computes the correlation of the dissimilarities of every two records, by two representations of these.

    Args:
        x_ND: Finite numbers.
        y_ND: The same records in the same order; D may differ.
        distance: `correlation`, 1 − Pearson's r over the units, or `euclidean`, which a rotation leaves as it is.
        correlation: `spearman`, of ranks, or `pearson`.

    Returns:
        A 0-dimensional float64 tensor in [−1, 1]; NaN where all are equally far apart, and for correlation where
        the units of a record are all alike.

    Raises:
        UserError: An unknown distance or correlation.
        ValueError: Fewer than 4 records, different N, or values that are NaN or infinite.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
        >>> round(rsa(x, x.square(), distance="euclidean").item(), 6)
        1.0
    """
    if distance not in DISTANCES:
        raise one_of("distance", distance, DISTANCES)
    if correlation not in CORRELATION_NAMES:
        raise one_of("correlation", correlation, CORRELATION_NAMES)
    found = [standardised(DISTANCES[distance](own_ND), correlation) for own_ND in checked_pair(x_ND, y_ND)]
    return (found[0] * found[1]).sum().clamp(-1, 1)


def standardised(distance_NN: Tensor, correlation: str) -> Tensor:
    """Returns the distances (P) of every two records, or for `spearman` their ranks, at mean 0 and norm 1.

    NaN if all are equal.
    """
    distance_P = distance_NN[tuple(torch.triu_indices(len(distance_NN), len(distance_NN), offset=1))]
    if bool((distance_P == distance_P[0]).all()) or distance_P.isnan().any():
        return torch.full_like(distance_P, torch.nan)
    if correlation == "spearman":
        distance_P = torch.from_numpy(rankdata(distance_P.numpy()))
    centred_P = distance_P - distance_P.mean()
    unit_P: Tensor = centred_P / torch.linalg.norm(centred_P)
    return unit_P


def correlation_distance(x_ND: Tensor) -> Tensor:
    """Computes 1 − Pearson's r of every two records over the units, (N, N); NaN for a record whose units are alike."""
    x_ND = x_ND - x_ND.mean(1, keepdim=True)
    # Half the squared distance of unit vectors is 1 − r, and exactly 0 for identical records.
    return euclidean_distance(x_ND / torch.linalg.norm(x_ND, dim=1, keepdim=True)).square() / 2


def euclidean_distance(x_ND: Tensor) -> Tensor:
    """Computes the distance of every two records, (N, N), exactly 0 for identical ones."""
    return torch.cdist(x_ND, x_ND, compute_mode="donot_use_mm_for_euclid_dist")


DISTANCES = dict(zip(DISTANCE_NAMES, (correlation_distance, euclidean_distance), strict=True))
