"""No pruning: the model keeps all its weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from layersel.backbone.backbone import Backbone
from layersel.compression.pruning.pruned import Pruned
from layersel.compression.pruning.pruning import Pruning
from layersel.data.tokens import TokenIds


@dataclass
class NoPruning(Pruning):
    """The model as it is."""

    prunes: ClassVar[bool] = False

    def prune(self, backbone: Backbone, tokens: Sequence[TokenIds], generator: torch.Generator) -> Pruned:
        """Nothing."""
        return Pruned()
