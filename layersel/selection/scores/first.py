"""Control: the layers nearest to the input."""

from dataclasses import dataclass

import torch

from layersel.backbone.backbone import Backbone
from layersel.selection.score import LayerScores, Probe, Score


@dataclass
class First(Score):
    """The first n layers."""

    def scores(self, backbone: Backbone, probe: Probe) -> LayerScores:
        """The layer's index from the top."""
        return LayerScores(torch.arange(backbone.n_layers, dtype=torch.float64).flip(0))
