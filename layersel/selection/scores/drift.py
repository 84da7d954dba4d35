"""Drift: how far a warm-up moves the weights of a layer."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.selection.score import LayerScores, Probe, WarmUpScore

if TYPE_CHECKING:
    from torch import Tensor

    from layersel.backbone.backbone import Backbone


@dataclass
class Drift(WarmUpScore):
    """Score of a layer = ‖ΔW‖_F after a warm-up, over the adapted weight matrices of the layer taken as one vector.

    Zhang, Bengio and Singer 2022, "Are all layers created equal?", look at this distance from the initial values too:
    robust layers often move little, but they find norms too coarse to tell which layers matter, as `reinitialise` does.
    It has no resamples: of other texts to learn from there would be another training.
    """

    relative: bool = False
    """Divide by ‖W‖_F of the same matrices."""

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Trains, and looks at no text.

        Raises:
            UserError: The warm-up fails.
        """
        import torch

        from layersel.backbone.layers import weight_OI
        from layersel.selection.gradients import squared_norm

        with self.warmed_up(probe) as warm:
            moved = {name: _squared_norm(*factors) for name, factors in warm.factors.items()}
            layers = warm.linears(backbone)
        linears = {name: linear for own in layers for name, linear in own.items()} if self.relative else {}
        sizes = {name: squared_norm(weight_OI(linear).detach().float()) for name, linear in linears.items()}

        def norm(names: "Iterable[str]") -> float:
            square = torch.stack([moved[name] for name in names]).sum()
            if self.relative:
                square = square / sum(sizes[name] for name in names)
            return float(square.sqrt())

        values = [norm(own) for own in layers]
        return LayerScores(torch.tensor(values, dtype=torch.float64), modules={name: norm([name]) for name in moved})


def _squared_norm(up_OR: "Tensor", down_RI: "Tensor") -> "Tensor":
    """Computes ‖U·D‖²_F = tr(UᵀU·DDᵀ) of a product of low rank without making it."""
    up_OR, down_RI = up_OR.double(), down_RI.double()
    return ((up_OR.T @ up_OR) * (down_RI @ down_RI.T)).sum().clamp(min=0)
