"""TIES: trim, elect signs, and average what agrees."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from layersel.merging.method import Changes, MergeMethod, stacked


@dataclass
class Ties(MergeMethod):
    """Keep each adapter's largest entries, elect the sign of their sum, average the entries of that sign.

    Trimming is over the whole adapter, as in the paper: its strongest layers keep more than its weakest. Entries of
    layers that it does not have are not counted, so what it keeps does not depend on whom it is merged with. With
    density 1, merging one adapter, or A with A, returns it. An entry that sums to 0 is 0 in the result, by the paper's
    equation; its published code takes the sign that prevails in the whole model there.

    Reference: Yadav et al. 2023, "TIES-Merging: resolving interference when merging models", algorithm 1; density
    0.2 and λ = 1 are its values where none can be validated.
    """

    density: float = 0.2
    """Share of an adapter's entries that is kept, the largest by magnitude."""

    def merge(self, changes: Changes, generator: torch.Generator) -> dict[str, Tensor]:
        """Trim, elect, average."""
        return {name: elected_mean(stack) for name, stack in trimmed(stacked(changes), self.density).items()}

    def problems(self) -> list[str]:
        """As `MergeMethod.problems`, and the density."""
        return super().problems() + density_problems(self.density)


def density_problems(density: float) -> list[str]:
    """A share that is not one."""
    return [] if 0 < density <= 1 else [f"merging.density: expected 0 < share <= 1, but got {density}"]


def trimmed(stacks: Mapping[str, Tensor], density: float) -> dict[str, Tensor]:
    """The stacks (T×O×I each) with all but each adapter's ⌊density·P + ½⌋ largest entries at zero.

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
    """A mask (P) of exactly the `count` largest values (at least 1), of equal ones the first.

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
    """The mean of the entries whose sign is that of their sum (O×I); 0 where the sum is 0.

    Example:
        >>> elected_mean(torch.tensor([[[2.0, 1.0]], [[4.0, -1.0]], [[-1.0, 0.0]]]))
        tensor([[3., 0.]])
    """
    agrees_TOI = stack_TOI.sign() == stack_TOI.sum(0).sign()
    return (stack_TOI * agrees_TOI).sum(0) / agrees_TOI.sum(0).clamp(min=1)
