"""Wanda: pruning by weights and activations (Sun et al. 2023)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.compression.pruning.pruning import drawn
from layersel.compression.pruning.weight_pruning import Linears, WeightPruning

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from layersel.backbone.backbone import Backbone
    from layersel.data.tokens import TokenIds


@dataclass
class Wanda(WeightPruning):
    """The lowest |W|·‖X‖ of each output become zero, X being the inputs on calibration texts.

    Blocks are pruned one after the other, each by the inputs that it gets from the pruned ones before it. Adapters are
    active meanwhile.

    Reference: Sun et al. 2023, "A simple and effective pruning approach for large language models", eq. 1.
    """

    calibration: int = 128
    """Texts to calibrate on, drawn from all of the dataset; their labels are never looked at."""

    watches_inputs: ClassVar[bool] = True

    def zero_layers(
        self,
        backbone: "Backbone",
        layers: Sequence[Linears],
        tokens: "Sequence[TokenIds]",
        generator: "torch.Generator",
    ) -> "dict[str, Tensor]":
        """Zeroes block by block; each block runs twice, and hidden states of one depth are in memory."""
        from layersel.backbone.encode import token_batches
        from layersel.backbone.layers import weight_OI
        from layersel.backbone.modes import evaluating
        from layersel.compression.pruning.input_norms import input_norms, wanda_scores
        from layersel.terminal.progress import progress

        masks: dict[str, Tensor] = {}
        backbone.check_split()
        batches = token_batches(backbone, drawn(tokens, self.calibration, generator))
        with evaluating(backbone):
            states = [backbone.prefix(batch, 0) for batch in batches]
            for layer, linears in enumerate(progress(layers, "pruning")):
                norms = input_norms(backbone, layer, linears, batches, states)
                for name, module in linears.items():
                    masks[name] = self.zero_lowest(module, wanda_scores(weight_OI(module), norms[name]))
                if layer + 1 < len(layers):
                    for index, batch in enumerate(batches):
                        states[index] = backbone.advance(batch, layer, states[index])
        return masks

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, no texts to calibrate on among them."""
        count = self.calibration
        return super().problems() + (
            [] if count >= 1 else [f"pruning.calibration: expected at least 1, but got {count}"]
        )
