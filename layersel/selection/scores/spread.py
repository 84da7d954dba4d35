"""Control: layers at even distances."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.selection.score import Control, LayerScores, Probe, round_half_up

if TYPE_CHECKING:
    from layersel.backbone.backbone import Backbone


@dataclass
class Spread(Control):
    """n layers at even distances; always the last one, with n > 1 the first one too."""

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Gives 1 to the layers at even distances, 0 to the others."""
        import torch

        n, last = self.budget(backbone.n_layers), backbone.n_layers - 1
        values_L = torch.zeros(backbone.n_layers, dtype=torch.float64)
        values_L[[last - round_half_up(step * last / max(n - 1, 1)) for step in range(n)]] = 1
        return LayerScores(values_L)
