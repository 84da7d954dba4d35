"""rsLoRA (Kalajdzievski 2023): LoRA whose scale does not fade with the rank."""

from dataclasses import dataclass
from typing import Any, ClassVar

from layersel.adapters.kinds.lora import Lora


@dataclass
class RsLora(Lora):
    """W + (alpha/√rank)·B·A.

    Reference: Kalajdzievski 2023, "A rank stabilization scaling factor for fine-tuning with LoRA".
    """

    alpha: float | None = None
    """Scale of the update, alpha/√rank; null = 2·rank."""

    options: ClassVar[dict[str, Any]] = {"use_rslora": True}
