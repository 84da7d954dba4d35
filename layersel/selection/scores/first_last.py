"""Control: the layers nearest to the input, and the last one."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.selection.score import Control, LayerScores, Probe

if TYPE_CHECKING:
    from layersel.backbone.backbone import Backbone


@dataclass
class FirstLast(Control):
    """The first n−1 layers and the last one; with n = 1 the last one alone.

    The choices that Ogawa et al. 2026 publish for decoders look like this, so it has to be beaten at the same budget.
    """

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Gives the last layer the highest number, and each other one its index from the top."""
        import torch

        values_L = torch.arange(backbone.n_layers, dtype=torch.float64).flip(0)
        values_L[-1] = backbone.n_layers
        return LayerScores(values_L)
