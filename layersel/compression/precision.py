"""The numeric precision of training and of inference."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from layersel.errors import one_of

LIGHTNING = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Precision:
    """Which floating-point format matrix products use; parameters stay in fp32."""

    train: str = "fp32"
    """In training: fp32, bf16 or fp16 (mixed precision; fp16 on a GPU only)."""
    infer: str = "fp32"
    """When records are encoded: fp32, bf16 or fp16."""

    @property
    def lightning(self) -> str:
        """Lightning's name of the training precision."""
        return LIGHTNING[self.train]

    def inference(self, device: torch.device) -> AbstractContextManager[object]:
        """The context in which records are encoded on `device`."""
        if self.infer == "fp32":
            return nullcontext()
        return torch.autocast(device.type, DTYPES[self.infer])

    def problems(self) -> list[str]:
        """Unknown formats."""
        options = {"train": self.train, "infer": self.infer}
        return [
            str(one_of(f"precision.{name}", value, LIGHTNING))
            for name, value in options.items()
            if value not in LIGHTNING
        ]
