"""AdaMerging: task arithmetic whose λ of each adapter and layer is learnt on unlabelled records."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from layersel.errors import UserError
from layersel.merging.methods.task_arithmetic import TaskArithmetic

# Shapes: T adapters, L layers, N records.


@dataclass
class AdaMerging(TaskArithmetic):
    """Σ λ_{t,l}·ΔW_{t,l}, with λ that makes the predictions on unlabelled records certain.

    λ starts at 0.3 (or at the weights given) and stays within [0, 1]. The paper minimises the mean entropy H(p) of
    the predictions; where few records are included, calling all of them excluded does that best. The guard therefore
    takes off the entropy H(p̄) of their mean, so that only differences between records count, and holds p̄ near its
    starting value π: H(p) − H(p̄) + g·KL(p̄‖π), where H(p̄) − H(p) is the mutual information of record and prediction.
    Of predictions that are all alike the least is at p̄ = π; of certain ones at logit(p̄) = g/(1 + g)·logit(π).

    Reference: Yang et al. 2024, "AdaMerging: adaptive model merging for multi-task learning", layer-wise; for the guard
    Krause et al. 2010, "Discriminative clustering by regularized information maximization".
    """

    learning_rate: float = 1e-3
    """Of Adam; λ moves by at most about this much in a step."""
    steps: int = 500
    """Steps of Adam."""
    batch_size: int = 16
    """Unlabelled records of each review in a step."""
    guard: float = 10.0
    """g, how firmly the share of records predicted as included is held; 0 = the paper's plain entropy, no guard."""

    learns_weights: ClassVar[bool] = True

    @property
    def own_weight(self) -> float:
        """0.3, where λ starts."""
        return 0.3

    def loss(self, logits: Sequence[Tensor], priors: Sequence[Tensor]) -> Tensor:
        """What is minimised: the mean over the reviews.

        Args:
            logits: For each review, the log-odds (N) of a batch of its records under λ.
            priors: For each review, `mean_prediction` of its records under the λ of the start.
        """
        if self.guard == 0:
            return torch.stack([prediction_entropy(logits_N) for logits_N in logits]).mean()
        pairs = zip(logits, priors, strict=True)
        return torch.stack([guarded_entropy(logits_N, prior, self.guard) for logits_N, prior in pairs]).mean()

    def problems(self) -> list[str]:
        """As `MergeMethod.problems`, the optimiser's options, and a search beside the learning."""
        found = super().problems()
        if self.search is not None:
            found.append(f"merging.search: expected null, for adamerging learns its weights, but got {self.search}")
        if not self.guard >= 0:
            found.append(f"merging.guard: expected 0 or more, but got {self.guard}")
        if not self.learning_rate > 0:
            found.append(f"merging.learning_rate: expected a number above 0, but got {self.learning_rate}")
        found += [
            f"merging.{name}: expected at least 1, but got {getattr(self, name)}"
            for name in ("steps", "batch_size")
            if getattr(self, name) < 1
        ]
        given = [*(self.weights or []), *(weight for row in self.layer_weights or [] for weight in row)]
        if any(isinstance(weight, int | float) and not 0 <= weight <= 1 for weight in given):
            found.append(f"merging.weights: expected numbers from 0 to 1 for adamerging, but got {given}")
        return found


def learn_weights(loss: Callable[[Tensor], Tensor], start_TL: Tensor, steps: int, learning_rate: float) -> Tensor:
    """λ (T×L, float32) of little loss, by Adam from the start, brought back into [0, 1] after each step.

    The published code lets λ leave the interval and clamps what it uses, so that a λ outside gets no gradient ever
    again; here it can come back.

    Raises:
        UserError: The loss is not finite.
    """
    weights_TL = start_TL.detach().float().clone().requires_grad_()
    optimizer = torch.optim.Adam([weights_TL], lr=learning_rate)
    for step in range(steps):
        optimizer.zero_grad()
        value = loss(weights_TL)
        if not bool(value.isfinite()):
            raise UserError(f"merging: the loss of λ is {value.item()} at step {step}; lower merging.learning_rate")
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            weights_TL.clamp_(0, 1)
    return weights_TL.detach()


def prediction_entropy(logits_N: Tensor) -> Tensor:
    """The mean entropy, in nats, of the predictions that log-odds make.

    Example:
        >>> prediction_entropy(torch.tensor([0.0, 0.0])), prediction_entropy(torch.tensor([-200.0, 200.0]))
        (tensor(0.6931), tensor(0.))
    """
    size_N = logits_N.abs()  # the entropy is symmetric, and exact on this side
    return (softplus(-size_N) + size_N * torch.sigmoid(-size_N)).mean()


def guarded_entropy(logits_N: Tensor, prior: Tensor, guard: float) -> Tensor:
    """H(p) − H(p̄) + guard·KL(p̄‖π) with p̄ the mean prediction and π the prior.

    Predictions that are alike gain nothing by certainty: H(p) = H(p̄), and what is left is least at p̄ = π.
    """
    mean, prior = mean_prediction(logits_N), prior.to(logits_N)
    both, priors = torch.stack([mean, 1 - mean]), torch.stack([prior, 1 - prior])
    entropy = torch.special.entr(both).sum()
    divergence = torch.xlogy(both, both / priors).sum()
    loss: Tensor = prediction_entropy(logits_N) - entropy + guard * divergence
    return loss


def mean_prediction(logits_N: Tensor) -> Tensor:
    """The mean probability that log-odds make, kept off 0 and 1 by rounding."""
    tiny = torch.finfo(logits_N.dtype).eps
    return torch.sigmoid(logits_N).mean().clamp(tiny, 1 - tiny)
