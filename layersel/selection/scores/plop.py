"""PLoP: the layers whose weights are least aligned with what enters them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.selection.resampled import ResampledScore
from layersel.selection.score import LayerScores, Probe, ProbeScore

if TYPE_CHECKING:
    from torch import Tensor

    from layersel.backbone.backbone import Backbone


@dataclass
class Plop(ResampledScore, ProbeScore):
    """Score of a layer = − the mean of its linear modules' normalised feature norms (NFN).

    NFN(W) = mean ‖Wẑ‖ / mean ‖Wz̃‖: ẑ is what enters W over all real tokens, z̃ are random directions, both at norm 1.
    PLoP adapts the module types of the lowest NFN, where training has aligned least, so that the sign is turned: the
    highest score is the lowest NFN. A module's score is its own, turned too.

    The published code (soufiane001/plop, src/metrics.py) departs: padding counts as input, the ratio is taken of each
    batch and then averaged, and as many directions as tokens are drawn anew for each module.

    The resamples have the directions of the whole probe, and weigh texts by their tokens.

    Reference: Hayou et al. 2025, "PLoP: Precise LoRA placement for efficient finetuning of large models".
    """

    directions: int = 1024
    """Random directions for the norm that inputs without alignment have; drawn by the seed."""

    low_is_dispensable: ClassVar[bool] = False

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Runs the probe once; each product with a weight is computed a second time.

        Raises:
            UserError: A layer has no linear modules, a weight is zero, or what enters one is not finite.
        """
        import torch

        from layersel.selection.measures.feature_norms import normalised_feature_norms
        from layersel.selection.module_types import linear_layers, mean_of_modules

        layers = linear_layers(backbone, self.name)
        linears = {name: module for own in layers for name, module in own.items()}
        norms = normalised_feature_norms(backbone, probe.batches, linears, self.directions, probe.generator, self.name)
        sums_LT = torch.stack([torch.stack([norms.sums[name] for name in own]).mean(dim=0) for own in layers])

        def of(rows: "Tensor") -> "Tensor":
            return -sums_LT[:, rows].sum(dim=1) / norms.counts_T[rows].sum()

        resampled_SL = self.resampled(len(norms.counts_T), probe.generator, of)
        return mean_of_modules([{name: -norms.ratios[name] for name in own} for own in layers], resampled_SL)

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong: no directions, shares of scores that are below 0."""
        found = super().problems()
        if self.directions < 1:
            found.append(f"selection.directions: expected at least 1, but got {self.directions}")
        if self.cumulative is not None:
            found.append("selection.cumulative: the scores of plop are below 0 and have no shares; use selection.n")
        return found
