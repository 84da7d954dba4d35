"""The pretrained transformer: loading, its layers and projections, pooling, frozen prefix and adapted suffix."""

from layersel.backbone.backbone import Backbone, Batch
from layersel.backbone.encode import encode, layer_representations, token_batches
from layersel.backbone.modes import evaluating
from layersel.backbone.prefix import PrefixCache, PrefixMemory
from layersel.backbone.pretrained import Pretrained
from layersel.backbone.shorten import drop_layers

__all__ = [
    "Backbone",
    "Batch",
    "PrefixCache",
    "PrefixMemory",
    "Pretrained",
    "drop_layers",
    "encode",
    "evaluating",
    "layer_representations",
    "token_batches",
]
