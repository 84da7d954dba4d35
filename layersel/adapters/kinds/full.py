"""Full fine-tuning of the chosen layers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.adapters.adapter import Adapter

if TYPE_CHECKING:
    import torch

    from layersel.adapters.full_placed import FullPlaced
    from layersel.backbone.backbone import Backbone
    from layersel.selection.selection import Selection


@dataclass
class Full(Adapter):
    """Every parameter of the chosen layers is trained: weights, biases and norms."""

    keeps_modules: ClassVar[bool] = False
    moves_base: ClassVar[bool] = True
    moves_biases: ClassVar[bool] = True
    counts_layers: ClassVar[bool] = True

    def layer_parameters(self, backbone: "Backbone") -> list[int]:
        """Returns the number of all parameters of each layer."""
        return [sum(own.numel() for own in layer.parameters()) for layer in backbone.layers]

    def place(self, backbone: "Backbone", selection: "Selection", generator: "torch.Generator") -> "FullPlaced":
        """Freezes all but the chosen layers."""
        from layersel.adapters.full_placed import FullPlaced
        from layersel.adapters.placement import check_placement

        backbone.requires_grad_(False)
        placed = FullPlaced(backbone, selection.layers)
        for layer in selection.layers:
            backbone.layers[layer].requires_grad_(True)
        check_placement(backbone, selection.layers)
        return placed
