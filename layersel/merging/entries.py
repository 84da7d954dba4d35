"""Entry-wise operations on stacked weight changes: stack, trim, drop, elect signs, average."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from layersel.merging.method import Changes

# Shapes: T adapters, O outputs and I inputs of a weight matrix, P entries.


def stacked(changes: Changes) -> dict[str, Tensor]:
    """Returns the adapters' ΔW of each module (T×O×I, float64)."""
    return {name: torch.stack([change.dense.double() for change in group]) for name, group in changes.items()}


def dropped_out(stacks: Mapping[str, Tensor], drop: float, generator: torch.Generator) -> dict[str, Tensor]:
    """Returns the stacks (T×O×I each) with each entry zero with probability `drop`, else divided by 1 − `drop`."""
    return {
        name: stacks[name] * (torch.rand(stacks[name].shape, generator=generator) >= drop) / (1 - drop)
        for name in sorted(stacks)
    }


def trimmed(stacks: Mapping[str, Tensor], density: float) -> dict[str, Tensor]:
    """Returns the stacks (T×O×I each) with all but each adapter's ⌊density·P + ½⌋ largest entries at zero.

    P is the number of entries of the modules in which the adapter is not zero. Of entries of the same magnitude the
    first are kept, by module name and then by row.
    """
    kept = {name: torch.zeros_like(stack) for name, stack in stacks.items()}
    for row in range(max(len(stack) for stack in stacks.values())):
        own = [name for name in sorted(stacks) if bool(stacks[name][row].any())]
        if not own:
            continue
        flat_P = torch.cat([stacks[name][row].flatten() for name in own])
        flat_P = flat_P * largest(flat_P.abs(), int(density * len(flat_P) + 0.5))
        sizes = [stacks[name][row].numel() for name in own]
        for name, part_P in zip(own, torch.split(flat_P, sizes), strict=True):
            kept[name][row] = part_P.view_as(kept[name][row])
    return kept


def largest(values_P: Tensor, count: int) -> Tensor:
    """Returns a mask (P) of exactly the `count` largest values (at least 1), of equal ones the first.

    Example:
        >>> largest(torch.tensor([1.0, 3.0, 1.0, 2.0]), 3)
        tensor([ True,  True, False,  True])
    """
    count = max(count, 1)
    threshold = values_P.kthvalue(len(values_P) - count + 1).values
    mask_P = values_P > threshold
    mask_P[(values_P == threshold).nonzero().flatten()[: count - int(mask_P.sum())]] = True
    return mask_P


def elected_mean(stack_TOI: Tensor) -> Tensor:
    """Returns the mean of the entries whose sign is that of their sum (O×I); 0 where the sum is 0.

    Example:
        >>> elected_mean(torch.tensor([[[2.0, 1.0]], [[4.0, -1.0]], [[-1.0, 0.0]]]))
        tensor([[3., 0.]])
    """
    agrees_TOI = stack_TOI.sign() == stack_TOI.sum(0).sign()
    return (stack_TOI * agrees_TOI).sum(0) / agrees_TOI.sum(0).clamp(min=1)


def entrywise_quantile(stack_TOI: Tensor, quantile: float) -> Tensor:
    """Returns the quantile over the first dimension, interpolated linearly (`torch.quantile` has a size limit).

    Example:
        >>> entrywise_quantile(torch.tensor([[[0.0]], [[4.0]], [[2.0]]]), 0.75)
        tensor([[3.]])
    """
    ordered_TOI = stack_TOI.sort(dim=0).values
    place = quantile * (len(stack_TOI) - 1)
    return torch.lerp(ordered_TOI[math.floor(place)], ordered_TOI[math.ceil(place)], place % 1)
