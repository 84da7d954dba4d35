"""Control: layers at even distances."""

from dataclasses import dataclass

import torch

from layersel.backbone.backbone import Backbone
from layersel.selection.score import LayerScores, Probe, Score, round_half_up


@dataclass
class Spread(Score):
    """n layers at even distances; always the last one, with n > 1 the first one too."""

    def scores(self, backbone: Backbone, probe: Probe) -> LayerScores:
        """1 for the layers at even distances, 0 for the others."""
        n, last = self.budget(backbone.n_layers), backbone.n_layers - 1
        values_L = torch.zeros(backbone.n_layers, dtype=torch.float64)
        values_L[[last - round_half_up(step * last / max(n - 1, 1)) for step in range(n)]] = 1
        return LayerScores(values_L)
