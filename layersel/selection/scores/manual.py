"""The layers that the user names."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from layersel.errors import UserError
from layersel.selection.score import Control, LayerScores, Probe

if TYPE_CHECKING:
    from layersel.backbone.backbone import Backbone


@dataclass
class Manual(Control):
    """Exactly the layers named."""

    n: float | None = None
    """Must stay null: the list of layers is the budget."""
    layers: list[int] = field(default_factory=list)
    """Indices of the layers to adapt, from 0: selection.layers=[9,10,11]."""

    takes_n: ClassVar[bool] = False

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Gives 1 to the named layers, 0 to the others."""
        import torch

        values_L = torch.zeros(backbone.n_layers, dtype=torch.float64)
        values_L[self.layers] = 1
        return LayerScores(values_L)

    def budget(self, n_layers: int) -> int:
        """Returns how many layers are named, if the model has them."""
        beyond = [layer for layer in self.layers if not 0 <= layer < n_layers]
        if beyond:
            raise UserError(f"selection.layers: expected indices from 0 to {n_layers - 1}, but got {beyond}")
        return len(self.layers)

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong: a list that is empty or names a layer twice among them."""
        found = super().problems()
        if not self.layers:
            found.append("selection.layers: expected a list such as [9,10,11], but got none; or use selection=none")
        if len(set(self.layers)) != len(self.layers):
            found.append(f"selection.layers: expected each layer once, but got {self.layers}")
        return found
