"""Symmetric integer grids with one scale for each output neuron, and their storage.

Shapes: O outputs, I inputs of a weight matrix; an embedding table has a row for each token and counts as O×I.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


def to_grid(weight_OI: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Computes the integers W_q = clip(round(q·W/max|W|), −q−1, q), q = 2^(bits−1) − 1, and each row's scale max|W|/q.

    Args:
        weight_OI: Weights in float32.
        bits: 2 to 8.

    Returns:
        The integers (O×I, int8), and the scales (O), 0 for rows of zeros.

    Example:
        >>> integers, scales = to_grid(torch.tensor([[0.7, -0.31, 0.0], [0.0, 0.0, 0.0]]), bits=4)
        >>> integers.tolist()
        [[7, -3, 0], [0, 0, 0]]
    """
    q = 2 ** (bits - 1) - 1
    largest_O1 = weight_OI.abs().amax(dim=1, keepdim=True)
    integers_OI = (q * weight_OI / largest_O1.clamp(min=torch.finfo().tiny)).round_().clamp_(-q - 1, q).to(torch.int8)
    return integers_OI, largest_O1.squeeze(1) / q


@dataclass(frozen=True)
class IntegerGrid:
    """The grid that a matrix was rounded to.

    Attributes:
        bits: The bits of an integer.
        scales_O: The scale of each row.
    """

    bits: int
    scales_O: Tensor

    def weights(self, integers_OI: Tensor) -> Tensor:
        """Returns the weights (O×I, float32) that integers stand for."""
        return integers_OI * self.scales_O.unsqueeze(1)

    def integers(self, weight_OI: Tensor) -> Tensor | None:
        """Returns the integers (O×I, int8) of weights on this grid; None if one of them is not on it."""
        scales_O1 = self.scales_O.unsqueeze(1)
        integers_OI = torch.where(scales_O1 == 0, 0, weight_OI / scales_O1).round_().to(torch.int8)
        return integers_OI if torch.equal(self.weights(integers_OI), weight_OI) else None


def snap(weight_OI: Tensor, bits: int) -> IntegerGrid:
    """Rounds weights to their grid, in place; weights on it already stay exactly as they are."""
    integers_OI, scales_O = to_grid(weight_OI, bits)
    grid = IntegerGrid(bits, scales_O.cpu())
    weight_OI.copy_(integers_OI * scales_O.unsqueeze(1))
    return grid


def pack(integers_OI: Tensor, bits: int) -> Tensor:
    """Packs integers as they are stored: two of 4 bits in a byte (O×⌈I/2⌉, uint8), the first in its lower half.

    Example:
        >>> pack(torch.tensor([[1, -1, 7]], dtype=torch.int8), bits=4).tolist()
        [[241, 7]]
    """
    if bits == 8:
        return integers_OI
    nibbles_OI = torch.nn.functional.pad(integers_OI, (0, integers_OI.shape[1] % 2)).view(torch.uint8) & 15
    return nibbles_OI[:, ::2] | nibbles_OI[:, 1::2] << 4


def unpack(packed: Tensor, bits: int, inputs: int) -> Tensor:
    """Restores the integers (O×I, int8) that `pack` was given, I = `inputs`."""
    if bits == 8:
        return packed
    nibbles = torch.stack([packed & 15, packed >> 4], dim=2).flatten(1)[:, :inputs]
    return ((nibbles ^ 8).view(torch.int8) - 8).contiguous()
