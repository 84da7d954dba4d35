"""OWL: the share of a layer's weights that stand far out, given what enters them."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.selection.resampled import ResampledScore
from layersel.selection.score import LayerScores, Probe, ProbeScore

if TYPE_CHECKING:
    from layersel.backbone.backbone import Backbone


@dataclass
class Outliers(ResampledScore, ProbeScore):
    """Score of a layer = the share of its entries |W_ij|·‖X_j‖₂ that are above m times their mean in the layer.

    X_j is what enters input j of a linear module over all real tokens. OWL prunes the layers with the highest shares
    least; here these are adapted. A module's score is its own share above the same bound.

    The resamples need the squared norm of what enters each input by text: 4 bytes for each text of the probe and input
    of a module, which of 128 texts are 11 MB of MiniLM and 580 MB of a Llama of 7 billion weights, on the CPU.

    Reference: Yin et al. 2023, "Outlier weighed layerwise sparsity (OWL)", section 3.
    """

    m: float = 5.0
    """How many times the layer's mean an entry must exceed to be an outlier."""

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Runs the probe once.

        Raises:
            UserError: A layer has no linear modules, or what enters one is not finite.
        """
        from layersel.selection.measures.outlier_shares import outlier_shares

        draws_ST = self.draws(sum(len(batch["input_ids"]) for batch in probe.batches), probe.generator)
        return outlier_shares(backbone, probe.batches, self.name, self.m, draws_ST)

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, a bound that is none among them."""
        wrong = not 0 < self.m < math.inf
        return super().problems() + ([f"selection.m: expected a number above 0, but got {self.m:g}"] if wrong else [])
