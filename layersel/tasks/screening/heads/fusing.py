"""Scores of several views, made comparable, and how much each of them counts."""

from collections.abc import Callable, Sequence

import torch
from scipy.stats import rankdata
from torch import Tensor

from layersel.tasks.screening.heads.examples import Examples
from layersel.tasks.screening.heads.head import Head
from layersel.tasks.screening.heads.pool import Pool

# Shapes: V views, N records.

RECIPROCAL_OFFSET = 60
"""What is added to a rank before its reciprocal is taken (Cormack, Clarke and Büttcher 2009)."""
SHARPNESS = 8.0
"""How fast a view's weight falls with its error; chosen on the reviews of the recipe, on which 4 and 16 do alike."""


def log_odds(scores_VN: Tensor) -> Tensor:
    """Returns log(u/(1−u)) (V×N) with u = (rank − ½)/N, rank 1 the lowest score; ties share their mean rank.

    Example:
        >>> log_odds(torch.tensor([[0.1, 0.9]]))
        tensor([[-1.0986,  1.0986]], dtype=torch.float64)
    """
    return torch.logit((_ranks(scores_VN) - 0.5) / scores_VN.shape[1])


def z_scores(scores_VN: Tensor) -> Tensor:
    """Returns (score − mean)/deviation (V×N); 0 for a view that tells nothing apart."""
    centred_VN = scores_VN.double() - scores_VN.double().mean(dim=1, keepdim=True)
    deviation_V1 = centred_VN.square().mean(dim=1, keepdim=True).sqrt()
    return torch.where(deviation_V1 > 0, centred_VN / deviation_V1, 0.0)


def reciprocal_ranks(scores_VN: Tensor) -> Tensor:
    """Returns 1/(60 + rank) (V×N), rank 1 the highest score; ties share their mean rank."""
    return 1 / (RECIPROCAL_OFFSET + _ranks(-scores_VN))


COMPARABLE: dict[str, Callable[[Tensor], Tensor]] = {
    "log_odds": log_odds,
    "z_scores": z_scores,
    "reciprocal_rank": reciprocal_ranks,
}


def left_out_weights(heads: Sequence[Head], examples: Examples, pool: Pool) -> Tensor:
    """Returns the weights (V), which add up to 1, of heads that are fused for a pool.

    Each included example is left out once: with p the share of the pool (without the other included examples) that a
    head then ranks at least as high, its error e is the mean of p², and its weight goes with exp(−8e). So a view counts
    by what it misses, as the work saved does. With one included example alone all weights are equal.
    """
    included = (examples.labels_N == 1).nonzero()[:, 0].tolist()
    if len(included) < 2:
        return torch.full((len(heads),), 1 / len(heads), dtype=torch.float64)
    places = torch.tensor(pool.places(examples))
    shares_V: list[list[float]] = [[] for _ in heads]
    for left_out in included:
        known = examples.without(left_out)
        competes_N = torch.ones(len(pool.texts), dtype=torch.bool)
        competes_N[places[[place for place in included if place != left_out]]] = False
        for shares, head in zip(shares_V, heads, strict=True):
            scores_N = head.fit(known)(pool)
            shares.append(float((scores_N[competes_N] >= scores_N[places[left_out]]).double().mean()))
    errors_V = torch.tensor(shares_V, dtype=torch.float64).square().mean(dim=1)
    return torch.softmax(-SHARPNESS * errors_V, dim=0)


def _ranks(scores_VN: Tensor) -> Tensor:
    return torch.from_numpy(rankdata(scores_VN.numpy(), axis=1))
