"""Control: every layer."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from layersel.backbone.backbone import Backbone
from layersel.selection.score import LayerScores, Probe, Score


@dataclass
class All(Score):
    """Every layer, as plain LoRA does."""

    n: float | None = None
    """Must stay null: all layers are chosen."""

    takes_n: ClassVar[bool] = False

    def scores(self, backbone: Backbone, probe: Probe) -> LayerScores:
        """1 for each layer."""
        return LayerScores(torch.ones(backbone.n_layers, dtype=torch.float64))

    def budget(self, n_layers: int) -> int:
        """All of them."""
        return n_layers
