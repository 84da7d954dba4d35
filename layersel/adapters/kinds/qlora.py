"""QLoRA (Dettmers et al. 2023): LoRA on a base of 4-bit weights."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.adapters.kinds.lora import Lora
from layersel.adapters.nf4_package import nf4_problem

if TYPE_CHECKING:
    import torch
    from peft import PeftModel

    from layersel.adapters.placed import PeftPlaced
    from layersel.adapters.qlora_placed import QloraPlaced
    from layersel.backbone.backbone import Backbone
    from layersel.selection.selection import Selection


@dataclass
class Qlora(Lora):
    """nf4(W) + (alpha/rank)·B·A; the linear modules of all layers are quantised, those of the chosen ones adapted.

    Reference: Dettmers et al. 2023, "QLoRA: efficient finetuning of quantized LLMs", equation 5.
    """

    double_quant: bool = True
    """Quantise the scales of the 4-bit blocks too: 4.127 instead of 4.5 bits a weight."""

    quantised_base: ClassVar[bool] = True

    def place(self, backbone: "Backbone", selection: "Selection", generator: "torch.Generator") -> "PeftPlaced":
        """Quantises the layers, then places LoRA."""
        from layersel.adapters.nf4 import quantise_layers

        self.check_modules(backbone, selection.target_modules(self.projections))
        quantise_layers(backbone, self.double_quant)
        return super().place(backbone, selection, generator)

    def placed(self, backbone: "Backbone", layers: list[int], adapted: "PeftModel") -> "QloraPlaced":
        """Returns a `QloraPlaced`, which cannot be merged."""
        from layersel.adapters.qlora_placed import QloraPlaced

        return QloraPlaced(backbone, layers, adapted, self.double_quant)

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong, and one if bitsandbytes is missing."""
        problem = nf4_problem()
        return super().problems() + ([] if problem is None else [problem])
