"""Control: every layer."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.selection.score import Control, LayerScores, Probe

if TYPE_CHECKING:
    from layersel.backbone.backbone import Backbone


@dataclass
class All(Control):
    """Every layer, as plain LoRA does."""

    n: float | None = None
    """Must stay null: all layers are chosen."""

    takes_n: ClassVar[bool] = False

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Gives 1 to each layer."""
        import torch

        return LayerScores(torch.ones(backbone.n_layers, dtype=torch.float64))

    def budget(self, n_layers: int) -> int:
        """Returns the number of all layers."""
        return n_layers
