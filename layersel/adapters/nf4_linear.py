"""A linear layer with 4-bit weights; imports bitsandbytes, so it is imported where it is used."""

import copy

import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit, Params4bit
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

BLOCK = 64
"""The number of weights that have a scale in common."""


class Nf4Linear(Linear4bit):  # type: ignore[misc]  # it has no types
    """bitsandbytes' linear layer in nf4, right and unchanging on every CPU.

    Its CPU kernel (0.50) gives blocks that cross the rows of a narrow matrix the scale of another block, and on some
    processors it repacks the weights, rounded, when they are first used in evaluation mode.

    Args:
        module: The linear module or `Conv1D` whose weight it takes, quantised, and whose bias.
        double_quant: Whether the scales of the blocks are quantised, too.
    """

    def __init__(self, module: nn.Linear | Conv1D, double_quant: bool):
        weight_OI = module.weight.detach()
        weight_OI = weight_OI.T.contiguous() if isinstance(module, Conv1D) else weight_OI
        outputs, inputs = weight_OI.shape
        super().__init__(inputs, outputs, bias=False, device="meta")
        self.weight = Params4bit(
            weight_OI, requires_grad=False, quant_type="nf4", compress_statistics=double_quant, module=self
        )
        self.bias = module.bias
        self.support_avx512bf16_for_cpu = False
        self.requires_grad_(False).train(module.training).to(weight_OI.device)  # this quantises

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns the product of the weight with the inputs (…×in_features), plus the bias."""
        if inputs.device.type != "cpu" or self.in_features % BLOCK == 0:
            return super().forward(inputs)  # type: ignore[no-any-return]
        state = copy.copy(self.weight.quant_state)
        state.shape = torch.Size((self.in_features * self.out_features // BLOCK, BLOCK))  # a row is a block
        weight_OI = dequantize_4bit(self.weight.data, state).view(self.out_features, self.in_features)
        return functional.linear(inputs, weight_OI.to(inputs.dtype), self.bias)
