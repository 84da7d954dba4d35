"""Linear maps that share a matrix, each with scales and rows of its own."""

from torch import Tensor, nn
from torch.nn import functional


class ScaledRows(nn.Module):
    """A linear map whose weight is some rows of diag(scale)·matrix, both of which other modules may have too.

    It takes the place of PEFT's `lora_A` or `lora_B`, so that PEFT runs, disables and merges it like LoRA.

    Args:
        matrix: The shared factor.
        scale: One number for each of its rows; None for none.
        rows: Which of the rows this module has.
    """

    def __init__(self, matrix: nn.Parameter, scale: nn.Parameter | None, rows: slice = slice(None)):
        super().__init__()
        self.matrix = matrix
        self.scale = scale
        self.rows = rows

    @property
    def weight(self) -> Tensor:
        """Returns the rows of this module, scaled."""
        rows = self.matrix[self.rows]
        return rows if self.scale is None else self.scale[self.rows, None] * rows

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns the product of the weight with the inputs (…×columns)."""
        return functional.linear(inputs, self.weight)
