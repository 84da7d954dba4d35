"""Control: layers drawn at random."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.selection.score import Control, LayerScores, Probe

if TYPE_CHECKING:
    from layersel.backbone.backbone import Backbone


@dataclass
class Random(Control):
    """n layers drawn by the cell's seed."""

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Draws uniformly from the probe's generator."""
        import torch

        return LayerScores(torch.rand(backbone.n_layers, generator=probe.generator, dtype=torch.float64))
