"""Control: the layers nearest to the input."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.selection.score import Control, LayerScores, Probe

if TYPE_CHECKING:
    from layersel.backbone.backbone import Backbone


@dataclass
class First(Control):
    """The first n layers."""

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Gives each layer its index from the top."""
        import torch

        return LayerScores(torch.arange(backbone.n_layers, dtype=torch.float64).flip(0))
