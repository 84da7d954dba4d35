"""Drift: how far a warm-up moves the weights of a layer."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.selection.score import LayerScores, Probe, WarmUpScore

if TYPE_CHECKING:
    from torch import nn

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

        from layersel.selection.gradients import squared_norm_of_product

        with self.warmed_up(probe) as warm:
            squares = {name: squared_norm_of_product(*factors) for name, factors in warm.factors.items()}
            layers = warm.linears(backbone)
        alone = [{name: linear} for own in layers for name, linear in own.items()]
        values = drifts(squares, [*layers, *alone], self.relative)
        names = [name for own in layers for name in own]
        modules = dict(zip(names, values[len(layers) :], strict=True))
        return LayerScores(torch.tensor(values[: len(layers)], dtype=torch.float64), modules=modules)


def drifts(
    squares: Mapping[str, float], groups: "Sequence[Mapping[str, nn.Module]]", relative: bool = False
) -> list[float]:
    """Computes ‖ΔW‖_F of each group of linear modules, whose matrices are taken as one vector.

    Args:
        squares: ‖ΔW‖²_F of each module by its full name.
        groups: The modules of each group by their full names.
        relative: Divide by ‖W‖_F of the same matrices.
    """
    from layersel.backbone.layers import weight_OI
    from layersel.selection.gradients import squared_norm

    linears = {name: linear for own in groups for name, linear in own.items()} if relative else {}
    sizes = {name: squared_norm(weight_OI(linear).detach().float()) for name, linear in linears.items()}
    moved = [math.fsum(squares[name] for name in own) for own in groups]
    if relative:
        moved = [square / math.fsum(sizes[name] for name in own) for square, own in zip(moved, groups, strict=True)]
    return [math.sqrt(square) for square in moved]
