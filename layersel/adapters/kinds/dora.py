"""DoRA (Liu et al. 2024): LoRA for the direction of the weights, and a trained magnitude for each output."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from layersel.adapters.kinds.lora import Lora

if TYPE_CHECKING:
    from peft import PeftModel

    from layersel.adapters.placed import PeftPlaced
    from layersel.backbone.backbone import Backbone


@dataclass
class Dora(Lora):
    """m·V/‖V‖ with V = W + (alpha/rank)·B·A, where m starts as ‖W‖, one number for each output.

    Reference: Liu et al. 2024, "DoRA: weight-decomposed low-rank adaptation", equation 5; as in PEFT, the norm is taken
    over the inputs of each output and is a constant for the gradient (section 4.3).
    """

    options: ClassVar[dict[str, Any]] = {"use_dora": True}

    def module_parameters(self, outputs: int, inputs: int, projection: str) -> int:
        """Returns r·(d_in + d_out), and a magnitude for each output."""
        return super().module_parameters(outputs, inputs, projection) + outputs

    def placed(self, backbone: "Backbone", layers: list[int], adapted: "PeftModel") -> "PeftPlaced":
        """Returns a `PeftPlaced`, since rescaling W makes the change one of full rank."""
        from layersel.adapters.placed import PeftPlaced

        return PeftPlaced(backbone, layers, adapted)
