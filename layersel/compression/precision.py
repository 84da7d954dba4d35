"""The numeric precision of training and of inference."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch

from layersel.backbone.backbone import Backbone
from layersel.compression.quantisation.engines import AUTO, ENGINES, usable_engines
from layersel.compression.quantisation.quantised import Quantised
from layersel.compression.quantisation.quantising import DYNAMIC, FORMATS, quantise
from layersel.data.tokens import TokenIds
from layersel.errors import UserError, one_of

LIGHTNING = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
MATMUL = ("highest", "high", "medium")


@dataclass
class Precision:
    """Which number format matrix products use; parameters stay in fp32 while they are trained."""

    train: str = "fp32"
    """In training: fp32, bf16 or fp16 (mixed precision; fp16 on a GPU only)."""
    infer: str = "fp32"
    """When records are encoded: fp32, bf16, fp16, int8 (integer kernels, CPU), int8_weight, int4 (rounded weights)."""
    matmul: str = "highest"
    """Products of fp32 matrices: highest, high (TF32 on a GPU), medium (bf16 factors, faster with AMX)."""
    engine: str = AUTO
    """What multiplies integers with infer=int8: onednn, int_mm, or auto, the fastest here; their results are alike."""
    outliers: float = 0.01
    """Share of each layer's input columns, those with the largest entries, that infer=int8 keeps in fp32."""
    calibration: int = 16
    """Records, labels unseen, to find those columns on and to compare a quantised model with fp32 on."""

    @property
    def lightning(self) -> str:
        """Lightning's name of the training precision."""
        return LIGHTNING[self.train]

    @property
    def quantises(self) -> bool:
        """Whether the model is quantised before records are encoded."""
        return self.infer in FORMATS

    def inference(self, device: torch.device) -> AbstractContextManager[object]:
        """The context in which records are encoded on `device`."""
        return torch.autocast(device.type, DTYPES[self.infer]) if self.infer in DTYPES else nullcontext()

    @contextmanager
    def matmuls(self) -> Iterator[None]:
        """Products of fp32 matrices in the chosen precision within the block."""
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(self.matmul)
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)

    def quantise(self, backbone: Backbone, tokens: Sequence[TokenIds], generator: torch.Generator) -> Quantised:
        """Quantise the model of `backbone` in place.

        Args:
            backbone: Its model in float32; for int8 on the CPU and with adapters merged.
            tokens: Token ids of all records, without their labels; `calibration` of them are drawn.
            generator: Draws them.

        Raises:
            UserError: There is no record; or int8, where there are no integer kernels or the model is another one.
        """
        if not tokens:
            raise UserError("precision.calibration: expected records to calibrate on, but got none")
        drawn = torch.randperm(len(tokens), generator=generator)[: self.calibration].tolist()
        return quantise(backbone, self.infer, [tokens[index] for index in drawn], self.engine, self.outliers)

    def problems(self) -> list[str]:
        """Unknown formats and engines, a share that is none, no calibration; with int8, no engine on this machine."""
        choices = {"train": LIGHTNING, "infer": (*LIGHTNING, *FORMATS), "matmul": MATMUL, "engine": (AUTO, *ENGINES)}
        found = [
            str(one_of(f"precision.{name}", getattr(self, name), allowed))
            for name, allowed in choices.items()
            if getattr(self, name) not in allowed
        ]
        if not 0 <= self.outliers <= 1:
            found.append(f"precision.outliers: expected 0 <= share <= 1, but got {self.outliers:g}")
        if self.calibration < 1:
            found.append(f"precision.calibration: expected at least 1, but got {self.calibration}")
        return found or self._engine_problems()

    def _engine_problems(self) -> list[str]:
        if self.infer != DYNAMIC:
            return []
        try:
            usable_engines(self.engine)
        except UserError as error:
            return [str(error)]
        return []
