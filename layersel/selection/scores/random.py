"""Control: layers drawn at random."""

from dataclasses import dataclass

import torch

from layersel.backbone.backbone import Backbone
from layersel.selection.score import LayerScores, Probe, Score


@dataclass
class Random(Score):
    """n layers drawn by the cell's seed."""

    def scores(self, backbone: Backbone, probe: Probe) -> LayerScores:
        """Uniform draws from the probe's generator."""
        return LayerScores(torch.rand(backbone.n_layers, generator=probe.generator, dtype=torch.float64))
