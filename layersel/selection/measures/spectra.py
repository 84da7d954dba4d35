"""What the singular values of a weight matrix tell of it."""

import math

import torch
from torch import Tensor

# Shapes: O outputs, I inputs, K singular values.

ROUNDING = 8 * torch.finfo(torch.float32).eps
"""The error of a singular value in float32, as a share of the largest one."""


def singular_values(weight_OI: Tensor) -> Tensor:
    """Computes the singular values (K = min(O, I), descending, float32), with errors of a few roundings of the largest.

    NaN where the weight is not finite, as LAPACK would raise an error.
    """
    weight_OI = weight_OI.detach().float()
    if not bool(weight_OI.isfinite().all()):
        return torch.full((min(weight_OI.shape),), torch.nan)
    values_K: Tensor = torch.linalg.svdvals(weight_OI)
    return values_K


def signal_to_noise(weight_OI: Tensor) -> float:
    """Computes Σ_{S>ε} S / Σ_{S≤ε} S / max S of the singular values S, with ε = σ̂(1 + √β).

    σ̂ is the interquartile range of S over 1.349, and β the shorter side over the longer one (Marchenko and Pastur).
    Infinite where nothing is noise, NaN for a matrix of zeros. Of c·W it is 1/c of that of W.

    Example:
        >>> round(signal_to_noise(torch.diag(torch.tensor([8.0, 2.0, 1.0, 1.0]))), 4)
        0.25
    """
    values_K = singular_values(weight_OI)
    low, high = torch.quantile(values_K, torch.tensor([0.25, 0.75], device=values_K.device))
    shorter, longer = sorted(weight_OI.shape)
    threshold = (high - low) / 1.349 * (1 + math.sqrt(shorter / longer))
    signal, noise = values_K[values_K > threshold].sum(), values_K[values_K <= threshold].sum()
    return float(signal / noise / values_K[0])


def inverse_condition(weight_OI: Tensor) -> float:
    """Computes σ_min/σ_max, the inverse of the condition number κ: 0 for a singular matrix, NaN for one of zeros.

    A matrix counts as singular from κ = 10⁶ on, where float32 no longer tells.

    Example:
        >>> inverse_condition(torch.tensor([[4.0, 0.0], [0.0, -2.0]]))
        0.5
    """
    values_K = singular_values(weight_OI)
    ratio = float(values_K[-1] / values_K[0])
    return 0.0 if ratio <= ROUNDING else ratio
