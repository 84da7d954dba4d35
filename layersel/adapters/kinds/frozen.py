"""No adapter: the frozen encoder with its head."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.adapters.adapter import Adapter

if TYPE_CHECKING:
    import torch

    from layersel.adapters.placed import Unadapted
    from layersel.backbone.backbone import Backbone
    from layersel.selection.selection import Selection


@dataclass
class Frozen(Adapter):
    """Nothing is placed, whatever layers are chosen, and nothing is trained."""

    trains: ClassVar[bool] = False
    keeps_modules: ClassVar[bool] = False

    def place(self, backbone: "Backbone", selection: "Selection", generator: "torch.Generator") -> "Unadapted":
        """Freezes the model."""
        from layersel.adapters.placed import Unadapted

        backbone.requires_grad_(False)
        return Unadapted(backbone)
