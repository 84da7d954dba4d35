"""GoRA's importance: how far a small relative change of a layer's weights moves the loss."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.errors import one_of
from layersel.selection.score import LabelledScore, LayerScores, Probe

if TYPE_CHECKING:
    from layersel.backbone.backbone import Backbone

MEAN_ABS, FROBENIUS = "mean_abs", "frobenius"
NORMS = (MEAN_ABS, FROBENIUS)


@dataclass
class Gora(LabelledScore):
    """Score of a layer = the mean of |W ⊙ Ḡ| over the weights of its linear modules, Ḡ the mean gradient over batches.

    By it He et al. 2025, "GoRA: gradient-driven adaptive low rank adaptation", share out ranks among modules; W ⊙ Ḡ is
    the sensitivity of Molchanov et al. 2019. The paper's norm is the mean of absolute values; its code takes
    ‖W ⊙ Ḡ‖_F (`union_frobenius_norm`) by default, but its scripts the mean, over 32 steps. The mean does not depend on
    how large a module is, the norm grows with it. The score stays as it is where W is scaled and its inputs by the
    inverse. It has no resamples, for the reason of `grad_norm`.
    """

    norm: str = MEAN_ABS
    """mean_abs, as the paper and the scripts of its code have it, or frobenius, the default of that code."""

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Measures W ⊙ Ḡ, of a layer over all of its linear modules together.

        Raises:
            UserError: A layer has no linear modules, the loss is undefined for all batches, or a gradient is not
                finite.
        """
        import torch

        from layersel.selection.gradients import mean_gradients, squared_norm
        from layersel.selection.module_types import linear_layers

        layers = linear_layers(backbone, self.name)
        gradients = mean_gradients(backbone, probe)
        values: list[float] = []
        modules: dict[str, float] = {}
        for linears in layers:
            parts = {name: own.weight.detach().float() * gradients[name] for name, own in linears.items()}  # type: ignore[operator]
            if self.norm == FROBENIUS:
                modules |= {name: squared_norm(part) ** 0.5 for name, part in parts.items()}
                values.append(math.hypot(*(modules[name] for name in parts)))
            else:
                modules |= {name: float(part.abs().mean(dtype=torch.float64)) for name, part in parts.items()}
                sizes = {name: part.numel() for name, part in parts.items()}
                values.append(sum(sizes[name] * modules[name] for name in sizes) / sum(sizes.values()))
        return LayerScores(torch.tensor(values, dtype=torch.float64), modules=modules)

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, an unknown norm among them."""
        found = super().problems()
        return found if self.norm in NORMS else [*found, str(one_of("selection.norm", self.norm, NORMS))]
