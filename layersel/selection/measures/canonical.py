"""Canonical correlation analysis (CCA) of two representations of the same records, after truncation.

The canonical correlations ρ of two sets of directions are the cosines of the angles between the spaces that these span
among the N − 1 centred directions of N records. With as many dimensions as records both spaces are everything and each
ρ is 1, whatever was represented: the representations are truncated to their leading principal directions first.

References:
    Raghu et al. 2017, SVCCA: Singular Vector Canonical Correlation Analysis for Deep Learning Dynamics (99 % of the
    variance, mean of ρ). Its tutorial keeps a share of the singular values' sum instead; here it is the variance's.
    Morcos et al. 2018, Insights on representational similarity in neural networks with canonical correlation (PWCCA).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from layersel.errors import UserError
from layersel.selection.measures.records import centred, checked_pair

# Shapes: N records, D dimensions, K directions kept.


@dataclass(frozen=True)
class Truncated:
    """The leading principal directions of a representation: directions_NK @ loadings_KD is the truncated one.

    Attributes:
        directions_NK: Orthonormal and centred; the records' coordinates.
        loadings_KD: What each of them contributes to each dimension.
    """

    directions_NK: Tensor
    loadings_KD: Tensor

    def of(self, rows: slice | Tensor) -> "Truncated":
        """Returns some of the records, with directions that are orthonormal and centred among these."""
        u_NK, s_K, v_KK = torch.linalg.svd(centred(self.directions_NK[rows]), full_matrices=False)
        kept = int((s_K > len(u_NK) * torch.finfo(s_K.dtype).eps).sum())
        return Truncated(u_NK[:, :kept], (s_K[:kept, None] * v_KK[:kept]) @ self.loadings_KD)


def truncated(x_ND: Tensor, variance: float) -> Truncated:
    """Returns the fewest principal directions of the centred X that hold this share of its variance.

    Args:
        x_ND: Finite numbers in float64.
        variance: Above 0, at most 1; 1 keeps all directions that are more than rounding.

    Example:
        >>> x = torch.tensor([[1.0, 0.1], [-1.0, 0.1], [1.0, -0.1], [-1.0, -0.1]], dtype=torch.float64)
        >>> [len(truncated(x, share).loadings_KD) for share in (0.9, 0.999)]
        [1, 2]
    """
    u_NK, s_K, v_KD = torch.linalg.svd(centred(x_ND), full_matrices=False)
    rank = int((s_K > max(x_ND.shape) * torch.finfo(s_K.dtype).eps * s_K[0]).sum())
    shares_K = s_K.square().cumsum(0) / s_K.square().sum().clamp(min=1e-300)
    kept = min(rank, int((shares_K < variance).sum()) + 1)
    return Truncated(u_NK[:, :kept], s_K[:kept, None] * v_KD[:kept])


def svcca(x_ND: Tensor, y_ND: Tensor, variance: float = 0.99) -> Tensor:
    """Computes the mean canonical correlation of two truncated representations, (N, D) and (N, D′).

    Returns:
        A 0-dimensional float64 tensor in [0, 1]; NaN when a representation is constant.

    Raises:
        UserError: All N − 1 directions of the records are kept, so that every correlation is 1.
        ValueError: Fewer than 4 records, different N, or values that are NaN or infinite.

    Example:
        >>> x = torch.tensor([[0.0, 1.0], [1.0, 3.0], [2.0, 0.0], [4.0, 1.0], [3.0, 3.0]])
        >>> round(svcca(x, x @ torch.tensor([[2.0, 1.0], [0.0, 0.5]])).item(), 6)
        1.0
    """
    return mean_correlation(*_comparable(x_ND, y_ND, variance))


def pwcca(x_ND: Tensor, y_ND: Tensor, variance: float = 0.99) -> Tensor:
    """Computes the canonical correlations' mean, weighted by what their directions contribute to one representation.

    That is the one of which fewer directions are kept (Morcos et al., section 3), the first of two alike. The weight of
    its direction h_i is Σ_j |⟨h_i, x_j⟩| over its dimensions x_j, which no rotation leaves as it is. Directions of the
    other that have no partner do not count. The published code (google/svcca, pwcca.py) departs: its directions lack
    the whitening, and have a mean.

    Returns:
        As `svcca`.

    Raises:
        UserError: As `svcca`.
        ValueError: As `svcca`.

    Example:
        >>> x = torch.tensor([[0.0, 1.0], [1.0, 3.0], [2.0, 0.0], [4.0, 1.0], [3.0, 3.0]])
        >>> round(pwcca(x, 2 * x + 1).item(), 6)
        1.0
    """
    return weighted_correlation(*_comparable(x_ND, y_ND, variance))


def mean_correlation(x: Truncated, y: Truncated) -> Tensor:
    """Computes the mean of the canonical correlations; NaN if there is none."""
    correlations: Tensor = torch.linalg.svdvals(x.directions_NK.T @ y.directions_NK).clamp(max=1)
    return correlations.mean()


def weighted_correlation(x: Truncated, y: Truncated) -> Tensor:
    """Computes the canonical correlations' mean, weighted by their directions' shares in the smaller of X and Y.

    NaN if there is none.
    """
    u_KL, correlations, v_LK = torch.linalg.svd(x.directions_NK.T @ y.directions_NK, full_matrices=False)
    of_x = len(x.loadings_KD) <= len(y.loadings_KD)
    weights = (u_KL.T @ x.loadings_KD if of_x else v_LK @ y.loadings_KD).abs().sum(1)
    similarity: Tensor = (weights * correlations.clamp(max=1)).sum() / weights.sum()
    return similarity


def check_directions(kept: int, n_texts: int, variance: float, argument: str) -> None:
    """Refuses a truncation that leaves as many directions as centred records have; `argument` begins the line.

    Raises:
        UserError: It does, so that every canonical correlation is 1.
    """
    if kept >= n_texts - 1:
        raise UserError(
            f"{argument}: expected a share of less than all {n_texts - 1} directions of {n_texts} texts, but got "
            f"{variance:g}, by which all are kept and CCA is 1 whatever the states; use more texts, or a smaller share"
        )


def _comparable(x_ND: Tensor, y_ND: Tensor, variance: float) -> tuple[Truncated, Truncated]:
    x_ND, y_ND = checked_pair(x_ND, y_ND)
    x, y = truncated(x_ND, variance), truncated(y_ND, variance)
    for own in (x, y):
        check_directions(len(own.loadings_KD), len(x_ND), variance, "variance")
    return x, y
