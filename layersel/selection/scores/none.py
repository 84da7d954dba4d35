"""Control: no layer, the frozen encoder."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from layersel.backbone.backbone import Backbone
from layersel.selection.score import LayerScores, Probe, Score


@dataclass
class NoLayers(Score):
    """No layer: the frozen encoder with its head."""

    n: float | None = None
    """Must stay null: no layer is chosen."""

    takes_n: ClassVar[bool] = False

    def scores(self, backbone: Backbone, probe: Probe) -> LayerScores:
        """0 for each layer."""
        return LayerScores(torch.zeros(backbone.n_layers, dtype=torch.float64))

    def budget(self, n_layers: int) -> int:
        """None of them."""
        return 0
