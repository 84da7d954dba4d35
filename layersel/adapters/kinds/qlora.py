"""QLoRA (Dettmers et al. 2023): LoRA on a base of 4-bit weights."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from peft import PeftModel

from layersel.adapters.kinds.lora import Lora
from layersel.adapters.nf4 import nf4_problem, quantise_layers
from layersel.adapters.placed import LoraPlaced, PeftPlaced
from layersel.adapters.saving import save_adapter
from layersel.backbone.backbone import Backbone
from layersel.errors import UserError
from layersel.selection.selection import Selection

NF4 = "nf4.json"


@dataclass
class Qlora(Lora):
    """nf4(W) + (alpha/rank)·B·A; the linear modules of all layers are quantised, those of the chosen ones adapted.

    Reference: Dettmers et al. 2023, "QLoRA: efficient finetuning of quantized LLMs", equation 5.
    """

    double_quant: bool = True
    """Quantise the scales of the 4-bit blocks too: 4.127 instead of 4.5 bits a weight."""

    quantised_base: ClassVar[bool] = True

    def place(self, backbone: Backbone, selection: Selection, generator: torch.Generator) -> PeftPlaced:
        """As `Adapter.place`, on quantised layers."""
        self.check_modules(backbone, selection.target_modules(self.projections))
        quantise_layers(backbone, self.double_quant)
        return super().place(backbone, selection, generator)

    def placed(self, backbone: Backbone, layers: list[int], adapted: PeftModel) -> "QloraPlaced":
        """Not to be merged."""
        return QloraPlaced(backbone, layers, adapted, self.double_quant)

    def problems(self) -> list[str]:
        """As `Lora.problems`, and the package that may be missing."""
        problem = nf4_problem()
        return super().problems() + ([] if problem is None else [problem])


class QloraPlaced(LoraPlaced):
    """LoRA on a 4-bit base, which is what `disabled` gives: the pretrained weights are gone."""

    def __init__(self, backbone: Backbone, layers: list[int], adapted: PeftModel, double_quant: bool):
        super().__init__(backbone, layers, adapted)
        self._double_quant = double_quant

    def merge(self) -> None:
        """Always a `UserError`."""
        raise UserError(
            "adapter=qlora: cannot be merged, for its update would be rounded to 4 bits; leave merge out of the order, "
            "or use adapter=lora"
        )

    def save(self, folder: Path) -> None:
        """A plain PEFT folder, and beside it how to make the base."""
        save_adapter(self.adapted, folder, {NF4: json.dumps({"double_quant": self._double_quant})})
