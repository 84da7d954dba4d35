"""AdaMerging: task arithmetic whose λ of each adapter and layer is learnt on unlabelled texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layersel.merging.method import LearntWeights
from layersel.merging.methods.task_arithmetic import TaskArithmetic

if TYPE_CHECKING:
    from torch import Tensor

# Shapes: T adapters, L layers, N texts.


@dataclass
class AdaMerging(TaskArithmetic, LearntWeights):
    """Σ λ_{t,l}·ΔW_{t,l}, with λ that makes the predictions on unlabelled texts certain.

    λ starts at 0.3 (or at the weights given) and stays within [0, 1]. The paper minimises the mean entropy H(p) of
    the predictions; where few texts are positive, calling all of them negative does that best. The guard therefore
    takes off the entropy H(p̄) of their mean, so that only differences between texts count, and holds p̄ near its
    starting value π: H(p) − H(p̄) + g·KL(p̄‖π), where H(p̄) − H(p) is the mutual information of text and prediction.
    Of predictions that are all alike the least is at p̄ = π; of certain ones at logit(p̄) = g/(1 + g)·logit(π).

    Reference: Yang et al. 2024, "AdaMerging: adaptive model merging for multi-task learning", layer-wise; for the guard
    Krause et al. 2010, "Discriminative clustering by regularized information maximization".
    """

    guard: float = 10.0
    """g, how firmly the share of texts predicted as positive is held; 0 = the paper's plain entropy, no guard."""

    @property
    def own_weight(self) -> float:
        """Returns λ of every adapter at the start, which is 0.3."""
        return 0.3

    def loss(self, logits: "Sequence[Tensor]", priors: "Sequence[Tensor]") -> "Tensor":
        """Returns the mean over the datasets of the entropy of their predictions, guarded unless g is 0."""
        import torch

        from layersel.merging.learning import guarded_entropy, prediction_entropy

        if self.guard == 0:
            return torch.stack([prediction_entropy(logits_N) for logits_N in logits]).mean()
        both = zip(logits, priors, strict=True)
        return torch.stack([guarded_entropy(logits_N, prior, self.guard) for logits_N, prior in both]).mean()

    def problems(self) -> list[str]:
        """Returns one line for each option that is wrong: the guard, weights that λ cannot start from among them."""
        found = super().problems()
        if not self.guard >= 0:
            found.append(f"merging.guard: expected 0 or more, but got {self.guard}")
        given = [*(self.weights or []), *(weight for row in self.layer_weights or [] for weight in row)]
        if any(isinstance(weight, int | float) and not 0 <= weight <= 1 for weight in given):
            found.append(f"merging.weights: expected numbers from 0 to 1 for adamerging, but got {given}")
        return found
