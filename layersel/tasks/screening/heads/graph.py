"""A graph of nearest neighbours, and how marks spread over it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags_array

# Shapes: N records, F features of a view, R rows, k neighbours.

ROWS = 256
"""Records whose similarities to all others are held at a time."""
ROUNDS = 20


def neighbour_graph(views: Sequence[Any], neighbours: int) -> csr_matrix:
    """Returns the normalised graph (N×N) in which each record is tied to the `neighbours` most similar ones.

    Records are as similar as the sum over the views of their cosine, divided by its standard deviation over pairs of
    records, says. An edge weighs the similarity, at least 0, and holds in both directions; W becomes
    D^{−1/2} W D^{−1/2} with D the sums of its rows.

    Args:
        views: For each view the records' features (N×F, dense or sparse) in rows of length 1.
        neighbours: k; of fewer records all are neighbours.
    """
    n = views[0].shape[0]
    k = min(neighbours, n - 1)
    sample = np.unique(np.linspace(0, n - 1, ROWS, dtype=int))
    deviations = [float(_cosines(features_NF, sample).std()) or 1.0 for features_NF in views]
    rows, columns, weights = [], [], []
    for start in range(0, n if k else 0, ROWS):
        own = np.arange(start, min(start + ROWS, n))
        similar_RN = np.zeros((len(own), n))
        for features_NF, deviation in zip(views, deviations, strict=True):
            similar_RN += _cosines(features_NF, own) / deviation
        similar_RN[np.arange(len(own)), own] = -np.inf
        nearest_Rk = np.argpartition(-similar_RN, k - 1, axis=1)[:, :k]
        rows.append(np.repeat(own, k))
        columns.append(nearest_Rk.ravel())
        weights.append(np.take_along_axis(similar_RN, nearest_Rk, axis=1).ravel().clip(min=0))
    if not rows:
        return csr_matrix((n, n))
    edges = csr_matrix((np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))), shape=(n, n))
    edges = edges.maximum(edges.T)
    degrees = np.asarray(edges.sum(axis=1)).ravel()
    scale = diags_array(np.where(degrees > 0, degrees, 1.0) ** -0.5)
    return csr_matrix(scale @ edges @ scale)


def spread(graph_NN: csr_matrix, marked: Sequence[int], alpha: float) -> NDArray[np.float64]:
    """Returns F (N) after 20 rounds of F ← α·S·F + (1−α)·Y, with Y = 1 for marked records and 0 for all others.

    Example:
        >>> chain = csr_matrix([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
        >>> spread(chain, [0], alpha=0.5).round(2).tolist()
        [0.75, 0.5, 0.25]
    """
    given_N = np.zeros(graph_NN.shape[0])
    given_N[list(marked)] = 1
    held_N = given_N
    for _ in range(ROUNDS):
        held_N = alpha * (graph_NN @ held_N) + (1 - alpha) * given_N
    return held_N


def _cosines(features_NF: Any, rows: NDArray[Any]) -> NDArray[np.float64]:
    """Returns the cosines (R×N) of some records to all."""
    product = features_NF[rows] @ features_NF.T
    return product if isinstance(product, np.ndarray) else np.asarray(product.toarray())
