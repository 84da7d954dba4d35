"""A linear layer that multiplies integers: dynamic int8 with outlier columns in floating point."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from layersel.backbone.layers import weight_OI
from layersel.compression.quantisation.engines import Engine
from layersel.compression.quantisation.integer_grid import IntegerGrid, to_grid

# Shapes: N rows (tokens), O outputs, I inputs, K outlier columns.

BITS = 8
LARGEST = 127
ENTRIES = 2**20
"""Entries of the input, or of the output if it is wider, that are treated at a time: what lies between the steps stays
in the CPU's cache."""


class Int8Linear(nn.Module):
    """Y = X·Wᵀ + b with int8 factors: weights with one scale for each output, rows of X with one for each token.

    A row's scale is found when the row is seen (dynamic quantisation), so an outlying token spoils no other one's.
    Outlying columns of X, which would spoil the scale of every row, are multiplied in float32, as in LLM.int8()
    (Dettmers et al. 2022); they take no part in the scales of rows and weights. For inference only: no gradients.

    Args:
        engine: Multiplies the integers.
        integers_OI: The weights' integers, zero in the outlier columns.
        scales_O: Their scales.
        bias_O: The bias.
        columns_K: Indices of the outlier columns.
        outliers_KO: The weights of these columns.
    """

    PARTS: ClassVar = ("integers_OI", "scales_O", "bias_O", "columns_K", "outliers_KO")
    """Names of its tensors, in the order in which it is made of them."""

    integers_OI: Tensor
    scales_O: Tensor
    bias_O: Tensor
    columns_K: Tensor
    outliers_KO: Tensor

    def __init__(
        self,
        engine: Engine,
        integers_OI: Tensor,
        scales_O: Tensor,
        bias_O: Tensor,
        columns_K: Tensor,
        outliers_KO: Tensor,
    ):
        super().__init__()
        self.out_features, self.in_features = integers_OI.shape
        for part, tensor in zip(self.PARTS, (integers_OI, scales_O, bias_O, columns_K, outliers_KO), strict=True):
            self.register_buffer(part, tensor)
        self.use(engine)

    @classmethod
    def of(cls, linear: nn.Module, columns_K: Tensor, engine: Engine) -> "Int8Linear":
        """Makes one from a Linear or Conv1D module in float32 and the indices of its outlier columns."""
        floats_OI = weight_OI(linear).detach().contiguous()
        integers_OI, scales_O = to_grid(floats_OI.index_fill(1, columns_K, 0), BITS)
        bias_O = torch.zeros_like(scales_O) if linear.bias is None else linear.bias.detach().clone()  # type: ignore[operator]
        return cls(engine, integers_OI, scales_O, bias_O, columns_K, floats_OI[:, columns_K].t().contiguous())

    def use(self, engine: Engine) -> None:
        """Multiplies with this engine from now on; the results are the same to the last bit."""
        self.engine = engine
        self._packed: Tensor | None = None

    def dequantised(self) -> Tensor:
        """Returns the weights (O×I, float32) that the integers stand for, outlier columns included."""
        weight_OI = IntegerGrid(BITS, self.scales_O).weights(self.integers_OI)
        return weight_OI.index_copy_(1, self.columns_K, self.outliers_KO.t())

    def forward(self, x: Tensor) -> Tensor:
        """Computes Y (…×O) of X (…×I), float32 on the CPU."""
        x_NI = x.reshape(-1, self.in_features)
        y_NO = x_NI.new_empty(len(x_NI), self.out_features)
        step = max(1, ENTRIES // max(self.in_features, self.out_features))
        for first in range(0, len(x_NI), step):
            self._multiply(x_NI[first : first + step], y_NO[first : first + step])
        return y_NO.view(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        """Returns the sizes and the engine, for `print`."""
        kept = len(self.columns_K)
        return f"{self.in_features}, {self.out_features}, engine={self.engine.name}, columns in float32={kept}"

    def _multiply(self, x_NI: Tensor, y_NO: Tensor) -> None:
        if self._packed is None:
            self._packed = self.engine.pack(self.integers_OI)
        magnitudes_NI = x_NI.abs().index_fill_(1, self.columns_K, 0)
        scales_N1 = magnitudes_NI.amax(dim=1, keepdim=True).div_(LARGEST)
        # Entries of outlier columns may overflow int8, and rows of zeros have no reciprocal scale: whatever integers
        # they become are multiplied by weights of zero, or by a scale of zero.
        integers_NI = torch.mul(x_NI, scales_N1.reciprocal(), out=magnitudes_NI).round_().to(torch.int8)
        products_NO = self.engine.multiply(integers_NI, self._packed, self.scales_O)
        torch.addcmul(self.bias_O, products_NO, scales_N1, out=y_NO)
        if len(self.columns_K):
            y_NO.addmm_(x_NI.index_select(1, self.columns_K), self.outliers_KO)

    def __getstate__(self) -> dict[str, Any]:
        """Leaves out the packed weights, whose form is the engine's and the machine's own."""
        return {**self.__dict__, "_packed": None}
