"""Centred kernel alignment (CKA) of two representations of the same records.

Shape suffixes: N records, D dimensions. Everything is computed in float64 on the CPU (MPS has no float64);
the Gram matrices of a probe of some hundred records are small.

References:
    Kornblith et al. 2019, Similarity of Neural Network Representations Revisited (CKA and its kernels).
    Gretton et al. 2005, Measuring Statistical Dependence with Hilbert-Schmidt Norms (the biased HSIC).
    Song et al. 2012, Feature Selection via Dependence Maximization (HSIC₁, the unbiased estimate).
    Székely and Rizzo 2014, Partial Distance Correlation with Methods for Dissimilarities (U-centring).
"""

import torch
from torch import Tensor

from layersel.errors import UserError, one_of
from layersel.selection.measures.records import checked
from layersel.selection.similarity_names import KERNEL_NAMES


def cka(x_ND: Tensor, y_ND: Tensor, kernel: str = "linear", debiased: bool = False) -> Tensor:
    """Computes the CKA of two representations, (N, D) and (N, D′), of the same N records.

    Args:
        x_ND: finite numbers of any floating dtype.
        y_ND: the same records in the same order; D may differ.
        kernel: `linear` or `rbf`.
        debiased: use HSIC₁. The biased CKA of independent normals is near D/(D+N), not 0.

    Returns:
        A 0-dimensional float64 tensor: in [0, 1], or in [−1, 1] when debiased, where it scatters around 0 for
        independent representations; NaN when a representation is constant, which has no CKA.

    Raises:
        UserError: an unknown kernel.
        ValueError: fewer than 4 records, different N, or values that are NaN or infinite.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [2.0], [4.0]])
        >>> round(cka(x, 3 * x + 1).item(), 6)
        1.0
    """
    if kernel not in KERNELS:
        raise one_of("kernel", kernel, KERNELS)
    return cka_from_grams(KERNELS[kernel](x_ND), KERNELS[kernel](y_ND), debiased)


def cka_from_grams(k_NN: Tensor, l_NN: Tensor, debiased: bool = False) -> Tensor:
    """Computes the CKA of two Gram matrices: HSIC(K, L) / sqrt(HSIC(K, K)·HSIC(L, L)).

    A resample of the records needs no new kernel: pass `k_NN[rows][:, rows]` and `l_NN[rows][:, rows]`. A
    record drawn twice counts as two similar ones and inflates the CKA, the debiased one too: subsample
    without replacement where that matters.

    Returns:
        As `cka`; NaN when a centred Gram matrix vanishes (up to rounding).

    Raises:
        ValueError: the matrices are not square, not of one shape, smaller than 4×4, or not finite.

    Example:
        >>> x = torch.tensor([[0.0], [1.0], [2.0], [4.0]])
        >>> round(cka_from_grams(linear_kernel(x), linear_kernel(-x), debiased=True).item(), 6)
        1.0
    """
    k_NN, l_NN = _checked_grams(k_NN, l_NN)
    return (_direction(k_NN, debiased) * _direction(l_NN, debiased)).sum().clamp(-1, 1)


def hsic(k_NN: Tensor, l_NN: Tensor, debiased: bool = False) -> Tensor:
    """Computes the Hilbert–Schmidt independence criterion of two Gram matrices, a 0-dimensional float64 tensor.

    Biased: tr(KHLH)/(n−1)² with H = I − 11ᵀ/n (Gretton et al. 2005). Debiased: HSIC₁ (Song et al. 2012) as
    the inner product of U-centred matrices over n(n−3) (Székely and Rizzo 2014). That equals the trace form
    of Song et al., which subtracts large numbers, but here HSIC₁(K, K) ≥ 0 by construction.

    Raises:
        ValueError: as `cka_from_grams`.

    Example:
        >>> k = linear_kernel(torch.tensor([[0.0], [1.0], [2.0], [4.0]]))
        >>> hsic(k, k)
        tensor(8.5069, dtype=torch.float64)
    """
    k_NN, l_NN = _checked_grams(k_NN, l_NN)
    n = len(k_NN)
    scale = n * (n - 3) if debiased else (n - 1) ** 2
    return (_centred(k_NN, debiased) * _centred(l_NN, debiased)).sum() / scale


def linear_kernel(x_ND: Tensor) -> Tensor:
    """Computes K = XXᵀ, (N, N), of the column-centred X.

    HSIC does not see the centring; it keeps the digits of a representation with a large offset.

    Raises:
        ValueError: `x_ND` is not a matrix of at least 4 rows of finite numbers.

    Example:
        >>> linear_kernel(torch.tensor([[1.0], [2.0], [4.0], [5.0]]))[0]
        tensor([ 4.,  2., -2., -4.], dtype=torch.float64)
    """
    x_ND = checked("x_ND", x_ND)
    x_ND = x_ND - x_ND.mean(0)
    return x_ND @ x_ND.T


def rbf_kernel(x_ND: Tensor, t: float = 1.0) -> Tensor:
    """Computes K = exp(−D²/(2 t² median(D²))), (N, N), with the median over every two different texts.

    If most records are identical the median is 0 and K is the limit: 1 for identical records, 0 for others.

    Raises:
        UserError: `t` is not above 0.
        ValueError: as `linear_kernel`.

    Example:
        >>> rbf_kernel(torch.tensor([[0.0], [1.0], [2.0], [3.0]]))[0]
        tensor([1.0000, 0.8187, 0.4493, 0.1653], dtype=torch.float64)
    """
    if not t > 0:
        raise UserError(f"t: expected a number above 0, but got {t}")
    x_ND = checked("x_ND", x_ND)
    # Differences, not |x|² + |y|² − 2xy: identical records must be at the distance 0.
    d2_NN = torch.cdist(x_ND, x_ND, compute_mode="donot_use_mm_for_euclid_dist").square()
    distances = d2_NN[tuple(torch.triu_indices(len(x_ND), len(x_ND), offset=1))]
    exponent_NN = d2_NN / (2 * t**2 * _median(distances))
    return torch.exp(-exponent_NN.masked_fill(d2_NN == 0, 0))


KERNELS = dict(zip(KERNEL_NAMES, (linear_kernel, rbf_kernel), strict=True))


def _centred(k_NN: Tensor, debiased: bool) -> Tensor:
    """Computes HKH, or the U-centred matrix: zero diagonal before and after, n−2 and (n−1)(n−2) for n and n²."""
    n = len(k_NN)
    if not debiased:
        return k_NN - k_NN.mean(0) - k_NN.mean(1, keepdim=True) + k_NN.mean()
    k_NN = k_NN - k_NN.diag().diag()
    rows, columns = k_NN.sum(1, keepdim=True) / (n - 2), k_NN.sum(0) / (n - 2)
    u_NN = k_NN - rows - columns + k_NN.sum() / ((n - 1) * (n - 2))
    return u_NN.fill_diagonal_(0)


def _direction(k_NN: Tensor, debiased: bool) -> Tensor:
    """Returns the centred matrix at Frobenius norm 1, all NaN where only the rounding of the centring is left."""
    centred_NN = _centred(k_NN, debiased)
    norm = torch.linalg.norm(centred_NN)
    rounding = len(k_NN) * torch.finfo(k_NN.dtype).eps * torch.linalg.norm(k_NN)
    unit_NN: Tensor = centred_NN / norm.masked_fill(norm <= rounding, torch.nan)
    return unit_NN


def _median(values: Tensor) -> Tensor:
    """Computes the median as numpy does (`torch.median` takes the lower middle value, `quantile` has a size limit)."""
    ordered = values.sort().values
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def _checked_grams(k_NN: Tensor, l_NN: Tensor) -> tuple[Tensor, Tensor]:
    """Returns two Gram matrices of the same records in float64."""
    if k_NN.shape != l_NN.shape or k_NN.shape != k_NN.shape[:1] * 2:
        got = f"{tuple(k_NN.shape)} and {tuple(l_NN.shape)}"
        raise ValueError(f"Gram matrices: expected two square ones of one size, but got the shapes {got}")
    return checked("k_NN", k_NN), checked("l_NN", l_NN)
