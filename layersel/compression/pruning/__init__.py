"""Fewer weights: zeros within the linear layers, or whole layers taken out."""

from layersel.compression.pruning.pruned import Pruned, weight_sparsity
from layersel.compression.pruning.pruning import Pruning

__all__ = ["Pruned", "Pruning", "weight_sparsity"]
