"""The pairwise supervised contrastive loss."""

import torch
from torch import Tensor

from layersel.errors import UserError

# Shapes: P pairs, D hidden size.


def pairwise_contrastive_loss(left_PD: Tensor, right_PD: Tensor, same_P: Tensor, temperature: float) -> Tensor | None:
    """L = −mean over same-class pairs p of (s_p − logsumexp over different-class pairs n of s_n), s = cos/τ.

    Only different-class pairs stand in the denominator (Faria; after the decoupled loss of Yeh et al. 2022), so the
    loss can be negative.

    Args:
        left_PD: Vectors of the first records of the pairs.
        right_PD: Vectors of the second ones.
        same_P: Whether the two are of one class.
        temperature: τ > 0.

    Returns:
        A 0-dimensional tensor; None for a batch without a same-class or without a different-class pair, for which
        the loss is not defined: the training step skips it.

    Example:
        >>> left = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> right = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> pairwise_contrastive_loss(left, right, torch.tensor([True, False]), temperature=0.5)
        tensor(-2.)
    """
    if not temperature > 0:
        raise UserError(f"temperature: expected a number above 0, but got {temperature}")
    if bool(same_P.all()) or not bool(same_P.any()):
        return None
    similarity_P = torch.nn.functional.cosine_similarity(left_PD, right_PD) / temperature
    return similarity_P[~same_P].logsumexp(0) - similarity_P[same_P].mean()
