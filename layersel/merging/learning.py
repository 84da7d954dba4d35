"""Learning λ on unlabelled texts (AdaMerging)."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

from layersel.errors import UserError

# Shapes: T adapters, L layers, N texts.


def learn_weights(loss: Callable[[Tensor], Tensor], start_TL: Tensor, steps: int, learning_rate: float) -> Tensor:
    """Returns λ (T×L, float32) of little loss, found by Adam from the start and kept in [0, 1] after each step.

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
    """Returns the mean entropy, in nats, of the predictions that log-odds make.

    Example:
        >>> prediction_entropy(torch.tensor([0.0, 0.0])), prediction_entropy(torch.tensor([-200.0, 200.0]))
        (tensor(0.6931), tensor(0.))
    """
    size_N = logits_N.abs()  # the entropy is symmetric, and exact on this side
    return (softplus(-size_N) + size_N * torch.sigmoid(-size_N)).mean()


def guarded_entropy(logits_N: Tensor, prior: Tensor, guard: float) -> Tensor:
    """Returns H(p) − H(p̄) + guard·KL(p̄‖π) with p̄ the mean prediction and π the prior.

    Predictions that are alike gain nothing by certainty: H(p) = H(p̄), and what is left is least at p̄ = π.
    """
    mean, prior = mean_prediction(logits_N), prior.to(logits_N)
    both, priors = torch.stack([mean, 1 - mean]), torch.stack([prior, 1 - prior])
    entropy = torch.special.entr(both).sum()
    divergence = torch.xlogy(both, both / priors).sum()
    loss: Tensor = prediction_entropy(logits_N) - entropy + guard * divergence
    return loss


def mean_prediction(logits_N: Tensor) -> Tensor:
    """Returns the mean probability that log-odds make, kept off 0 and 1 by the rounding of a float."""
    tiny = torch.finfo(logits_N.dtype).eps
    return torch.sigmoid(logits_N).mean().clamp(tiny, 1 - tiny)
