"""Metrics of when the included records are found, as simulations of screening report them.

Arguments and results are as in `layersel.metrics.screening`. p₁ < … < p_I are the places of the included records in the
ranking, from 1; of tied records the included ones come last.
"""

import torch
from torch import Tensor

from layersel.metrics.screening import included_places, recall_at, wss


def average_time_to_discovery(scores: Tensor, labels: Tensor) -> Tensor:
    """Returns the mean of the places p: after how many records an included one is found (asreview-insights).

    NaN when I = 0.

    Example:
        >>> average_time_to_discovery(torch.tensor([0.9, 0.8, 0.3, -0.1]), torch.tensor([1, 0, 1, 0]))
        tensor(2., dtype=torch.float64)
    """
    return included_places(scores, labels).mean()


def discovery_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Returns the area between the best recall curve and this one, as a share of that between the best and the worst.

    It is `asreview.metrics.loss` (3.0.8), (I·(n − (I−1)/2) − Σ_k c_k)/(I·E) with c_k the included records among the
    first k: 0 for a perfect ranking, 1 for the reverse, and 1 − AUROC without ties. NaN when I = 0 or E = 0.

    Example:
        >>> discovery_loss(torch.tensor([0.9, 0.8, 0.3, -0.1]), torch.tensor([1, 0, 1, 0]))
        tensor(0.2500, dtype=torch.float64)
    """
    places = included_places(scores, labels)
    best = torch.arange(1, len(places) + 1, dtype=torch.float64)
    return (places.sum() - best.sum()) / (len(places) * (len(scores) - len(places)))


def ndcg(scores: Tensor, labels: Tensor) -> Tensor:
    """Returns Σ 1/log₂(p_i + 1) over its value Σ 1/log₂(i + 1) for a perfect ranking (`asreview.metrics.ndcg`, 3.0.8).

    NaN when I = 0.

    Example:
        >>> ndcg(torch.tensor([0.9, 0.8, 0.3, -0.1]), torch.tensor([1, 0, 1, 0]))
        tensor(0.9197, dtype=torch.float64)
    """
    places = included_places(scores, labels)
    best = torch.arange(1, len(places) + 1, dtype=torch.float64)
    gain, best_gain = ((1 / torch.log2(at + 1)).sum() for at in (places, best))
    return gain / best_gain


def discovery_metrics(scores: Tensor, labels: Tensor) -> dict[str, float]:
    """Returns the figures that a simulation reports, as plain numbers.

    WSS is that of `layersel.metrics.screening`. That of asreview-insights differs where few records are included: it
    looks at the last recall up to r, not the first from r on, and subtracts a random curve in whole included records.

    Example:
        >>> discovery_metrics(torch.tensor([0.9, 0.8, 0.3, -0.1]), torch.tensor([1, 0, 1, 0]))["loss"]
        0.25
    """
    values = {
        "wss@95": wss(scores, labels),
        "wss@100": wss(scores, labels, recall=1.0),
        "recall@10%": recall_at(scores, labels, 0.1),
        "atd": average_time_to_discovery(scores, labels),
        "loss": discovery_loss(scores, labels),
        "ndcg": ndcg(scores, labels),
    }
    return {name: value.item() for name, value in values.items()}
