"""Control: layers drawn at random."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.selection.score import Control, LayerScores, Probe

if TYPE_CHECKING:
    from layersel.backbone.backbone import Backbone


@dataclass
class Random(Control):
    """n layers drawn by the cell's seed."""

    choice: int = 0
    """Which of the choices that the seed draws one after the other."""

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Draws uniformly from the probe's generator."""
        import torch

        shape = (self.choice + 1, backbone.n_layers)
        return LayerScores(torch.rand(shape, generator=probe.generator, dtype=torch.float64)[-1])

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, a number of a choice below 0 among them."""
        found = [] if self.choice >= 0 else [f"selection.choice: expected 0 or more, but got {self.choice}"]
        return super().problems() + found
