"""What pruning did to a model, and how later steps leave it pruned."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from layersel.backbone.backbone import Backbone
from layersel.backbone.layers import IntegerLinear, linear_modules, weight_OI
from layersel.errors import UserError


@dataclass(frozen=True)
class Pruned:
    """The outcome of pruning.

    Attributes:
        masks: True where a weight stays, by the module's name without adapters: outputs × inputs, on the CPU.
        dropped: Indices of the layers taken out, as the whole model counted them.
        figures: Numbers about it, by name.
        note: One line about it for the user.
    """

    masks: dict[str, Tensor] = field(default_factory=dict)
    dropped: list[int] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    note: str = "no pruning"

    def reapply(self, backbone: Backbone) -> None:
        """Makes the pruned weights zero again after a step that filled them, such as merging an adapter.

        In a model with adapters these are the pretrained weights; what the adapters add stays. Integer weights are
        left alone: zero is on their grid, and nothing fills it.
        """
        linear = linear_modules(backbone.model)
        for name, keep_OI in self.masks.items():
            if not isinstance(linear[name], IntegerLinear):
                zero(linear[name], keep_OI)

    def holds(self, backbone: Backbone) -> bool:
        """Returns whether every pruned weight is zero now."""
        linear = linear_modules(backbone.model)
        return all(not bool(weight_OI(linear[name]).cpu()[~keep_OI].any()) for name, keep_OI in self.masks.items())

    def sparsity(self, backbone: Backbone) -> float:
        """Returns `weight_sparsity`: measured now, whatever was pruned before."""
        return weight_sparsity(backbone)

    def report(self) -> dict[str, Any]:
        """Returns the figures and the note, for logs."""
        return {**self.figures, "pruning": self.note}


def weight_sparsity(backbone: Backbone) -> float:
    """Computes the share of exact zeros in the pretrained weights of all linear layers inside the blocks.

    Raises:
        UserError: Weights are packed in a way that hides their values.
    """
    zeros = total = 0
    for name, module in linear_modules(backbone.model).items():
        weight = weight_OI(module).detach()
        if not weight.is_floating_point():
            raise UserError(f"sparsity: the weights of {name} are packed; measure it before they are quantised")
        zeros += int((weight == 0).sum())
        total += weight.numel()
    return zeros / total


def check_prunable(name: str, module: nn.Module) -> None:
    """Checks that the weights are floating-point numbers, which can be zeroed one by one.

    Raises:
        UserError: They are integers.
    """
    if isinstance(module, IntegerLinear) or not weight_OI(module).is_floating_point():
        raise UserError(f"pruning: expected floating-point weights in {name}; prune before they are quantised")


@torch.no_grad()
def zero(module: nn.Module, keep_OI: Tensor) -> None:
    """Makes the weights outside of the mask zero."""
    weight = weight_OI(module)
    weight.masked_fill_(~keep_OI.to(weight.device), 0)
