"""How much of a difference between two rankings other test records could undo."""

from collections.abc import Callable

import torch
from torch import Tensor

from layersel.metrics.screening import awss

RESAMPLES = 500


def difference_interval(
    scores_N: Tensor,
    others_N: Tensor,
    labels_N: Tensor,
    generator: torch.Generator,
    metric: Callable[[Tensor, Tensor], Tensor] = awss,
) -> tuple[float, float]:
    """Returns the 95 % interval of metric(scores) − metric(others) over resampled records, the same for both.

    Included and excluded records are resampled apart, so that their numbers stay (percentile bootstrap: Efron and
    Tibshirani 1993, chapter 13). It speaks of the test records alone, not of other labels to learn from.

    Args:
        scores_N: Scores of the N test records, higher = likelier included.
        others_N: Their scores by the other ranking.
        labels_N: 1 = included, 0 = excluded.
        generator: Draws the records.
        metric: The number that is compared.

    Returns:
        The ends; NaN where the metric is undefined.
    """
    classes = [(labels_N == label).nonzero()[:, 0] for label in (1, 0)]
    if not all(len(own) for own in classes):
        return float("nan"), float("nan")
    differences = torch.empty(RESAMPLES, dtype=torch.float64)
    for place in range(RESAMPLES):
        drawn = torch.cat([own[torch.randint(len(own), (len(own),), generator=generator)] for own in classes])
        differences[place] = metric(scores_N[drawn], labels_N[drawn]) - metric(others_N[drawn], labels_N[drawn])
    low, high = differences.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high
