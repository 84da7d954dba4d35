"""Control: the layers nearest to the output."""

from dataclasses import dataclass

import torch

from layersel.backbone.backbone import Backbone
from layersel.selection.score import LayerScores, Probe, Score


@dataclass
class Last(Score):
    """The last n layers, the usual choice where nothing is measured."""

    def scores(self, backbone: Backbone, probe: Probe) -> LayerScores:
        """The layer's index."""
        return LayerScores(torch.arange(backbone.n_layers, dtype=torch.float64))
