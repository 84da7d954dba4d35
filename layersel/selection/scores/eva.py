"""EVA: the layers whose inputs have the most components that each explain a large share of the variance."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.errors import UserError
from layersel.selection.score import LayerScores, Probe, ProbeScore

if TYPE_CHECKING:
    from torch import Tensor

    from layersel.backbone.backbone import Backbone

# Shapes: K components.


@dataclass
class Eva(ProbeScore):
    """Score of a layer = the mean rank that EVA gives its linear modules.

    The principal components of what enters a module, over all real tokens, each explain a share of its variance. Of all
    modules' shares the `rank`·M largest are taken, M the number of modules, and a module's rank, which is its score, is
    how many of them are its own, at most `most`·`rank`. With `ranks=proportional` a module's rank is in proportion to
    EVA's, at equal parameters instead of equal sums of ranks; EVA also starts A with the components, which is PEFT's
    `init_lora_weights=eva`. What turns a module's inputs, shifts or scales them, changes nothing.

    So a module whose inputs vary in one direction alone gets rank 1. The published code, in PEFT
    (`peft/tuners/lora/eva.py`), estimates the components batch by batch until they stay alike, and leaves out tokens
    that have no label; here they are those of the whole probe, prompts included, and exact.

    Modules that share an input, as query, key and value do, share a covariance, which takes 4·I² bytes and time that
    grows with I³ for its eigenvalues. There are no resamples, which would need that of every text.

    Reference: Paischer et al. 2024, "Parameter efficient fine-tuning via explained variance adaptation", section 3.
    """

    rank: int = 8
    """The rank of each module, of which the sum over all is shared out."""
    most: float = 2.0
    """The largest rank as a multiple of `rank`; the paper's rho."""

    low_is_dispensable: ClassVar[bool] = False

    def scores(self, backbone: "Backbone", probe: Probe) -> LayerScores:
        """Runs the probe once.

        Raises:
            UserError: A layer has no linear modules, or what enters one is not finite, or no text does.
        """
        from layersel.selection.activations import see_probe
        from layersel.selection.measures.second_moments import SecondMoments
        from layersel.selection.module_types import linear_layers, mean_of_modules

        layers, seen = linear_layers(backbone, self.name), SecondMoments(centred=True)
        linears = {name: module for own in layers for name, module in own.items()}
        see_probe(backbone, probe.batches, linears, lambda name, inputs_NI, _: seen.add(name, inputs_NI), self.name)
        most = round(self.rank * self.most)
        distinct = {name: explained(seen.mean(name), most, name) for name in linears if seen.same(name) == name}
        shares = [(float(own), name) for name in linears for own in distinct[seen.same(name)]]
        taken = [name for _, name in sorted(shares, key=lambda share: -share[0])[: self.rank * len(linears)]]
        ranks = Counter(taken)
        return mean_of_modules([{name: float(ranks[name]) for name in own} for own in layers])

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong: a rank below 1, or one that none may reach."""
        found = super().problems()
        if self.rank < 1:
            found.append(f"selection.rank: expected at least 1, but got {self.rank}")
        if not 1 <= self.most < math.inf:
            found.append(f"selection.most: expected a number of at least 1, but got {self.most:g}")
        return found


def explained(covariance_II: "Tensor", most: int, name: str) -> "Tensor":
    """Computes the shares of the variance that the first components explain (K, float64), at most `most`.

    Where nothing varies there are none.

    Raises:
        UserError: The covariance of the module `name` is not finite.

    Example:
        >>> import torch
        >>> explained(torch.diag(torch.tensor([1.0, 3.0, 0.0])), 2, "query")
        tensor([0.7500, 0.2500], dtype=torch.float64)
    """
    import torch

    variances_II = covariance_II if covariance_II.is_cuda else covariance_II.cpu()  # MPS has no float64
    variances_II = variances_II.double()
    if not bool(variances_II.isfinite().all()):
        raise UserError(f"selection=eva: what enters {name} is not finite; use precision=fp32, or a score of weights")
    total = variances_II.trace()
    if total <= 0:
        return torch.zeros(0, dtype=torch.float64)
    largest_K: Tensor = torch.linalg.eigvalsh(variances_II).flip(0)[:most]
    return (largest_K.clamp(min=0) / total).cpu()
