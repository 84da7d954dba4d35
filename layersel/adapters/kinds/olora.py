"""OLoRA (Büyükakyüz 2024): LoRA that starts orthonormal, from a QR decomposition of the weight."""

from dataclasses import dataclass
from typing import Any, ClassVar

from layersel.adapters.kinds.pissa import Pissa


@dataclass
class Olora(Pissa):
    """W_res + (alpha/rank)·B·A as in PiSSA; B and A start as the first columns of Q and rows of R of W = Q·R.

    Reference: Büyükakyüz 2024, "OLoRA: orthonormal low-rank adaptation of large language models", algorithm 1.
    """

    takes_conv1d: ClassVar[bool] = False
    options: ClassVar[dict[str, Any]] = {"init_lora_weights": "olora"}
