"""LoRA on a 4-bit base."""

import json
from pathlib import Path

from peft import PeftModel

from layersel.adapters.placed import LoraPlaced
from layersel.adapters.saving import save_adapter
from layersel.backbone.backbone import Backbone
from layersel.errors import UserError

NF4 = "nf4.json"
"""The name of the file that says how the base is quantised."""


class QloraPlaced(LoraPlaced):
    """LoRA on a 4-bit base, which is what `disabled` gives: the pretrained weights are gone."""

    def __init__(self, backbone: Backbone, layers: list[int], adapted: PeftModel, double_quant: bool):
        super().__init__(backbone, layers, adapted)
        self._double_quant = double_quant

    def merge(self) -> None:
        """Raises a `UserError`, since the update would be rounded to 4 bits."""
        raise UserError(
            "adapter=qlora: cannot be merged, for its update would be rounded to 4 bits; leave merge out of the order, "
            "or use adapter=lora"
        )

    def save(self, folder: Path) -> None:
        """Writes a plain PEFT folder with a further file that says how the base is quantised."""
        save_adapter(self.adapted, folder, {NF4: json.dumps({"double_quant": self._double_quant})})
