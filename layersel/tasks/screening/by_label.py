"""What a review's records have, label by label: values of any kind, and how long their texts are."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from layersel.tasks.curves import Curves

LABELS = {1: "included", 0: "excluded", -1: "unlabelled"}
"""The labels of records in words, in the order in which figures have them."""


def by_label(values: Sequence[float], labels: Tensor) -> dict[int, list[float]]:
    """Returns the values (N) of each label that records (N) have."""
    known = torch.as_tensor(values)
    return {label: known[labels == label].tolist() for label in LABELS if bool((labels == label).any())}


def length_quantiles(lengths: Sequence[int], labels: Tensor, limit: int) -> Curves:
    """Returns how many tokens the shortest records of each label have at most, for each percent of them.

    Args:
        lengths: The tokens (N) of each record before the cut.
        labels: Their labels (N), −1 where unknown.
        limit: The most tokens that the model gets.
    """
    shares = [percent / 100 for percent in range(101)]
    tokens = {LABELS[label]: np.quantile(own, shares).tolist() for label, own in by_label(lengths, labels).items()}
    return Curves("Length of the records", "share of records", "tokens of title and abstract", shares, tokens, limit)
