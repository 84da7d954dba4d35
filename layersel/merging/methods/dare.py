"""DARE: drop entries at random, rescale the others, then merge."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.errors import one_of
from layersel.merging.method import Changes, MergeMethod
from layersel.merging.methods.average import average_problems, normalised
from layersel.merging.methods.task_arithmetic import OWN_WEIGHT

if TYPE_CHECKING:
    import torch
    from torch import Tensor

INNER = ("average", "task_arithmetic", "ties")


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
        """Returns λ of every adapter unless the user gives others, which is that of the inner method."""
        return OWN_WEIGHT if self.inner == "task_arithmetic" else 1.0

    def merge(self, changes: Changes, generator: "torch.Generator") -> "dict[str, Tensor]":
        """Drops and rescales entries, then merges by the inner method."""
        from layersel.merging.entries import dropped_out, elected_mean, stacked

        def inner(stack_TOI: "Tensor") -> "Tensor":
            if self.inner == "ties":
                return elected_mean(stack_TOI)
            return stack_TOI.mean(0) if self.inner == "average" else stack_TOI.sum(0)

        dropped = dropped_out(stacked(changes), self.drop, generator)
        return {name: inner(stack) for name, stack in dropped.items()}

    def scale(self, weights_TL: "Tensor") -> "Tensor":
        """Returns λ; with inner=average it is T·λ divided by its sum, for the mean over the T adapters comes after."""
        return normalised(weights_TL) * len(weights_TL) if self.inner == "average" else weights_TL

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong: the probability, the inner method among them."""
        found = super().problems() + drop_problems(self.drop)
        if self.inner not in INNER:
            found.append(str(one_of("merging.inner", self.inner, INNER)))
        return found or (average_problems(self) if self.inner == "average" else [])


def drop_problems(drop: float) -> list[str]:
    """Returns a line if the probability leaves nothing, or is no probability."""
    return [] if 0 <= drop < 1 else [f"merging.drop: expected 0 <= p < 1, but got {drop}"]
