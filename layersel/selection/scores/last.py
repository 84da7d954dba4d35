"""Control: the layers nearest to the output."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.selection.score import Control, LayerScores, Probe

if TYPE_CHECKING:
    from layersel.backbone.backbone import Backbone


@dataclass
class Last(Control):
    """The last n layers, the usual choice where nothing is measured."""

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Gives each layer its index."""
        import torch

        return LayerScores(torch.arange(backbone.n_layers, dtype=torch.float64))
