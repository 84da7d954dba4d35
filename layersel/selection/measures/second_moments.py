"""Second moments of what enters modules."""

import torch
from torch import Tensor

# Shapes: N real tokens; I inputs of a linear module.


class SecondMoments:
    """The second moments of what enters modules, over all tokens.

    Args:
        centred: Whether they are about the mean: covariances.

    Attributes:
        sums: The sums of xxᵀ over the tokens x, one for all modules that are given the same tensor. Centred ones are of
            the distances to the last token of the first batch: of what is large beside its spread, only rounding would
            be left.
    """

    def __init__(self, centred: bool = False) -> None:
        self.sums: dict[str, Tensor] = {}
        self._centred = centred
        self._origins: dict[str, Tensor] = {}
        self._totals: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._first: dict[str, str] = {}  # of each module, the one that is given the same before all others
        self._last: tuple[Tensor, str] | None = None

    def add(self, name: str, inputs_NI: Tensor) -> None:
        """Adds the tokens of one batch."""
        if self._last is None or self._last[0] is not inputs_NI:
            self._last = inputs_NI, name
            own_NI = inputs_NI.detach().float()
            if self._centred:
                own_NI = own_NI - self._origins.setdefault(name, own_NI[-1].clone())
                self._totals[name] = self._totals.get(name, 0) + own_NI.sum(dim=0)
            product_II = own_NI.T @ own_NI
            self.sums[name] = self.sums[name].add_(product_II) if name in self.sums else product_II
            self._counts[name] = self._counts.get(name, 0) + len(own_NI)
        self._first[name] = self._last[1]

    def same(self, name: str) -> str:
        """Returns the first of the modules that are given the same as this one."""
        return self._first[name]

    def mean(self, name: str) -> Tensor:
        """Returns E[xxᵀ] of what enters a module (I×I), or its covariance."""
        first = self._first[name]
        moment_II = self.sums[first] / self._counts[first]
        if not self._centred:
            return moment_II
        offset_I = self._totals[first] / self._counts[first]
        return moment_II - torch.outer(offset_I, offset_I)
