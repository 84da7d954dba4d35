"""Orthogonal Procrustes similarity of two representations of the same records.

References:
    Ding et al. 2021, Grounding Representation Similarity with Statistical Testing (the distance and its scale).
    Williams et al. 2021, Generalized Shape Metrics on Neural Representations (the similarity of shapes).
"""

import torch
from torch import Tensor

from layersel.selection.measures.records import centred, checked_pair

# Shapes: N records, D dimensions.


def procrustes(x_ND: Tensor, y_ND: Tensor) -> Tensor:
    """Computes ‖XᵀY‖_* of the shapes X, Y of two representations, (N, D) and (N, D′), of the same N records.

    It is the largest tr(QᵀXᵀY) over all orthogonal Q, so that the Procrustes distance of Ding et al., at norm 1, is
    2 − 2‖XᵀY‖_*.

    Returns:
        A 0-dimensional float64 tensor in [0, 1]; NaN when a representation is constant.

    Raises:
        ValueError: Fewer than 4 records, different N, or values that are NaN or infinite.

    Example:
        >>> x = torch.tensor([[0.0, 1.0], [1.0, 3.0], [2.0, 0.0], [4.0, 1.0]])
        >>> round(procrustes(x, 3 * x.flip(1) + 1).item(), 6)
        1.0
    """
    x_ND, y_ND = checked_pair(x_ND, y_ND)
    return aligned(shape(x_ND), shape(y_ND))


def shape(x_ND: Tensor) -> Tensor:
    """Returns the centred X at Frobenius norm 1, in float64; all zero if X is constant."""
    centred_ND = centred(x_ND)
    unit_ND: Tensor = centred_ND / torch.linalg.norm(centred_ND).clamp(min=1e-300)
    return unit_ND


def aligned(x_ND: Tensor, y_ND: Tensor) -> Tensor:
    """Computes ‖XᵀY‖_* of two shapes; NaN if one of them is a constant's."""
    if not (x_ND.any() and y_ND.any()):
        return torch.tensor(torch.nan, dtype=torch.float64)
    similarity: Tensor = torch.linalg.svdvals(x_ND.T @ y_ND).sum().clamp(max=1)
    return similarity
