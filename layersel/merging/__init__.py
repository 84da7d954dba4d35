"""Merging adapters of several reviews, trained on whatever layers and ranks, into one."""

from layersel.merging.adamerging import AdaMerging, learn_weights, mean_prediction, prediction_entropy
from layersel.merging.conflicts import Conflict, conflicts
from layersel.merging.live import merged_live, module_layers
from layersel.merging.merge import Merged, check_mergeable, merge_adapters
from layersel.merging.method import MergeMethod, Merging
from layersel.merging.none import NoMerging
from layersel.merging.search import search_weights

__all__ = [
    "AdaMerging",
    "Conflict",
    "MergeMethod",
    "Merged",
    "Merging",
    "NoMerging",
    "check_mergeable",
    "conflicts",
    "learn_weights",
    "mean_prediction",
    "merge_adapters",
    "merged_live",
    "module_layers",
    "prediction_entropy",
    "search_weights",
]
