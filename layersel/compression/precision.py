"""The numeric precision of training and of inference."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.compression.quantisation.formats import AUTO, DYNAMIC, ENGINE_NAMES, FORMATS
from layersel.errors import UserError, one_of

if TYPE_CHECKING:
    import torch

    from layersel.backbone.backbone import Backbone
    from layersel.compression.quantisation.quantised import Quantised
    from layersel.data.tokens import TokenIds

LIGHTNING = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
DTYPES = {"bf16": "bfloat16", "fp16": "float16"}
MATMUL = ("highest", "high", "medium")
HOPELESS = 20
"""An engine asked for by name may take this many times as long as fp32; a reference kernel takes hundreds."""
USUAL = (1536, 384)
"""Outputs and inputs of the weight, as large as MiniLM's, on which such an engine is timed before anything begins."""


@dataclass
class Precision:
    """Which number format matrix products use; parameters stay in fp32 while they are trained."""

    train: str = "fp32"
    """In training: fp32, bf16 or fp16 (mixed precision; fp16 on a GPU only)."""
    infer: str = "fp32"
    """When texts are encoded: fp32, bf16, fp16, int8 (integer kernels, CPU), int8_weight, int4 (rounded weights)."""
    matmul: str = "highest"
    """Products of fp32 matrices: highest, high (TF32 on a GPU), medium (bf16 factors, faster with AMX)."""
    engine: str = AUTO
    """What multiplies integers with infer=int8: auto (the fastest here), onednn_unsigned, onednn, int_mm, float32.

    Their results are the same to the last bit, so the choice is no part of what a cell is."""
    outliers: float = 0.01
    """Share of each layer's input columns, those with the largest entries, that infer=int8 keeps in fp32."""
    calibration: int = 16
    """Texts, labels unseen, to find those columns on and to compare a quantised model with fp32 on."""

    undeciding: ClassVar[frozenset[str]] = frozenset({"engine"})
    """Options that change no number."""

    @property
    def lightning(self) -> str:
        """Returns the name that Lightning has for the training precision."""
        return LIGHTNING[self.train]

    @property
    def quantises(self) -> bool:
        """Returns whether the model is quantised before texts are encoded."""
        return self.infer in FORMATS

    def inference(self, device: "torch.device") -> AbstractContextManager[object]:
        """Returns the context in which texts are encoded on `device`."""
        import torch

        if self.infer not in DTYPES:
            return nullcontext()
        return torch.autocast(device.type, getattr(torch, DTYPES[self.infer]))

    @contextmanager
    def matmuls(self) -> Iterator[None]:
        """Multiplies fp32 matrices in the chosen precision within the block."""
        import torch

        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(self.matmul)
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)

    def quantise(self, backbone: "Backbone", tokens: "Sequence[TokenIds]", generator: "torch.Generator") -> "Quantised":
        """Quantises the model of `backbone` in place.

        Args:
            backbone: Its model in float32; for int8 on the CPU and with adapters merged.
            tokens: Token ids of all texts, without their labels; `calibration` of them are drawn.
            generator: Draws them.

        Raises:
            UserError: There is no text; or int8, where there are no integer kernels or the model is another one.
        """
        import torch

        from layersel.compression.quantisation.quantising import quantise

        if not tokens:
            raise UserError(
                "precision.calibration: expected texts to calibrate on that are not tested on, but got none; give data "
                "that have others"
            )
        drawn = torch.randperm(len(tokens), generator=generator)[: self.calibration].tolist()
        return quantise(backbone, self.infer, [tokens[index] for index in drawn], self.engine, self.outliers)

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong: unknown formats and engines, no share, no calibration."""
        names = (*LIGHTNING, *FORMATS)
        choices = {"train": LIGHTNING, "infer": names, "matmul": MATMUL, "engine": (AUTO, *ENGINE_NAMES)}
        found = [
            str(one_of(f"precision.{name}", getattr(self, name), allowed))
            for name, allowed in choices.items()
            if getattr(self, name) not in allowed
        ]
        if not 0 <= self.outliers <= 1:
            found.append(f"precision.outliers: expected 0 <= share <= 1, but got {self.outliers:g}")
        if self.calibration < 1:
            found.append(f"precision.calibration: expected at least 1, but got {self.calibration}")
        return found

    def machine_problems(self) -> list[str]:
        """Returns a line if int8 is asked for with an engine that does not work on this machine, or hardly moves."""
        if self.infer != DYNAMIC or self.engine == AUTO:
            return []
        import torch

        from layersel.compression.quantisation.engines import usable_engines
        from layersel.compression.quantisation.race import race

        try:
            engines = usable_engines(self.engine)
        except UserError as error:
            return [str(error)]
        longer = 1 / race(torch.ones(USUAL), 0, engines).speedup
        problem = (
            f"precision.engine: expected an engine that this CPU runs fast, but got {self.engine}, which takes "
            f"{longer:.0f} times as long as fp32 here; use auto"
        )
        return [problem] if longer > HOPELESS else []
