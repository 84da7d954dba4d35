"""Scores of several views, made comparable and added."""

from collections.abc import Callable

import torch
from scipy.stats import rankdata
from torch import Tensor

# Shapes: V views, N records.

RECIPROCAL_OFFSET = 60
"""What is added to a rank before its reciprocal is taken (Cormack, Clarke and Büttcher 2009)."""


def added_log_odds(scores_VN: Tensor) -> Tensor:
    """Returns Σ_v log(u/(1−u)) (N) with u = (rank − ½)/N, rank 1 the lowest score; ties share their mean rank.

    Example:
        >>> added_log_odds(torch.tensor([[0.1, 0.9], [3.0, 4.0]]))
        tensor([-2.1972,  2.1972], dtype=torch.float64)
    """
    share_VN = (_ranks(scores_VN) - 0.5) / scores_VN.shape[1]
    return torch.logit(share_VN).sum(dim=0)


def added_z_scores(scores_VN: Tensor) -> Tensor:
    """Returns the sum (N) over the views of (score − mean)/deviation; a view that tells nothing apart adds 0."""
    centred_VN = scores_VN.double() - scores_VN.double().mean(dim=1, keepdim=True)
    deviation_V1 = centred_VN.square().mean(dim=1, keepdim=True).sqrt()
    return torch.where(deviation_V1 > 0, centred_VN / deviation_V1, 0.0).sum(dim=0)


def added_reciprocal_ranks(scores_VN: Tensor) -> Tensor:
    """Returns Σ_v 1/(60 + rank) (N), rank 1 the highest score; ties share their mean rank."""
    return (1 / (RECIPROCAL_OFFSET + _ranks(-scores_VN))).sum(dim=0)


FUSED: dict[str, Callable[[Tensor], Tensor]] = {
    "log_odds": added_log_odds,
    "z_scores": added_z_scores,
    "reciprocal_rank": added_reciprocal_ranks,
}


def _ranks(scores_VN: Tensor) -> Tensor:
    return torch.from_numpy(rankdata(scores_VN.numpy(), axis=1))
