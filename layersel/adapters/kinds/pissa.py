"""PiSSA (Meng et al. 2024): LoRA that starts as the largest singular components of the weight."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from layersel.adapters.kinds.lora import Lora

if TYPE_CHECKING:
    import torch

    from layersel.adapters.placed import MovedBaseLora
    from layersel.backbone.backbone import Backbone
    from layersel.selection.selection import Selection


@dataclass
class Pissa(Lora):
    """W_res + (alpha/rank)·B·A, where (alpha/rank)·B·A starts as the rank-r SVD of W and W_res is the rest of W.

    It is saved as the standard LoRA of twice the rank that it is on the pretrained weights.

    Reference: Meng et al. 2024, "PiSSA: principal singular values and singular vectors adaptation", equations 2 to 4.
    """

    moves_base: ClassVar[bool] = True
    options: ClassVar[dict[str, Any]] = {"init_lora_weights": "pissa"}

    def place(self, backbone: "Backbone", selection: "Selection", generator: "torch.Generator") -> "MovedBaseLora":
        """Places the adapter through PEFT and keeps the pretrained weights, which PEFT changes."""
        from layersel.adapters.originals import Originals
        from layersel.adapters.placed import MovedBaseLora
        from layersel.adapters.placement import place

        config = self.peft_config(selection)
        names = sorted(config.target_modules)
        self.check_modules(backbone, names)
        originals = Originals(backbone.model.get_parameter(f"{name}.weight") for name in names)
        return MovedBaseLora(backbone, selection.layers, place(backbone, selection, config, generator), originals)
