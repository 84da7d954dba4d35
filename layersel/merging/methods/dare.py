"""DARE: drop entries at random, rescale the others, then merge."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from layersel.errors import one_of
from layersel.merging.method import Changes, MergeMethod, stacked
from layersel.merging.methods.task_arithmetic import OWN_WEIGHT
from layersel.merging.methods.ties import elected_mean

INNER = {
    "average": lambda stack_TOI: stack_TOI.mean(0),
    "task_arithmetic": lambda stack_TOI: stack_TOI.sum(0),
    "ties": elected_mean,
}


@dataclass
class Dare(MergeMethod):
    """Each entry of each ΔW is zeroed with probability p and divided by 1 − p if not; then another method merges.

    The expected result is that of the other method, if it is linear. Its noise has full rank and p/(1 − p) times the
    energy of the ΔW, so much of it goes when the result is brought to a low rank.

    Reference: Yu et al. 2024, "Language models are super Mario". Its p of 0.9 and more is for decoders of billions of
    parameters; in smaller models more is lost.
    """

    drop: float = 0.5
    """The probability p to drop an entry."""
    inner: str = "task_arithmetic"
    """What merges the rest: average, task_arithmetic, ties (elects signs; the drop stands for its trimming)."""

    @property
    def own_weight(self) -> float:
        """That of the inner method."""
        return OWN_WEIGHT if self.inner == "task_arithmetic" else 1.0

    def merge(self, changes: Changes, generator: torch.Generator) -> dict[str, Tensor]:
        """Drop and rescale, then merge."""
        dropped = dropped_out(stacked(changes), self.drop, generator)
        return {name: INNER[self.inner](stack) for name, stack in dropped.items()}

    def problems(self) -> list[str]:
        """As `MergeMethod.problems`, the probability and the inner method."""
        found = super().problems() + drop_problems(self.drop)
        return found + ([] if self.inner in INNER else [str(one_of("merging.inner", self.inner, INNER))])


def drop_problems(drop: float) -> list[str]:
    """A probability at which nothing would be left, or that is none."""
    return [] if 0 <= drop < 1 else [f"merging.drop: expected 0 <= p < 1, but got {drop}"]


def dropped_out(stacks: Mapping[str, Tensor], drop: float, generator: torch.Generator) -> dict[str, Tensor]:
    """Each entry of the stacks (T×O×I each) zero with probability `drop`, else divided by 1 − `drop`."""
    return {
        name: stacks[name] * (torch.rand(stacks[name].shape, generator=generator) >= drop) / (1 - drop)
        for name in sorted(stacks)
    }
