"""Control: no layer, the frozen encoder."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.selection.score import Control, LayerScores, Probe

if TYPE_CHECKING:
    from layersel.backbone.backbone import Backbone


@dataclass
class NoLayers(Control):
    """No layer: the frozen encoder with its head."""

    n: float | None = None
    """Must stay null: no layer is chosen."""

    takes_n: ClassVar[bool] = False

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Gives 0 to each layer."""
        import torch

        return LayerScores(torch.zeros(backbone.n_layers, dtype=torch.float64))

    @property
    def chooses_none(self) -> bool:
        """Always true."""
        return True

    def budget(self, n_layers: int) -> int:
        """Returns 0."""
        return 0
