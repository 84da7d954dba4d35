"""λ learnt by certainty of predictions: lower entropy, and no flight into the majority class."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from layersel.errors import UserError
from layersel.merging.learning import guarded_entropy, learn_weights, mean_prediction, prediction_entropy
from layersel.merging.methods.adamerging import AdaMerging

START = torch.full((2, 1), 0.3)


def rare(n_records: int = 1000) -> tuple[Tensor, Tensor]:
    """The labels of records of which 2 % are included, and a signal that tells them apart but for some noise."""
    labels_N = (torch.arange(n_records) % 50 == 0).float()
    noise_N = torch.randn(n_records, generator=torch.Generator().manual_seed(0))
    return labels_N, 4 * labels_N - 1 + noise_N


def toy_logits(weights_TL: Tensor) -> Tensor:
    """Log-odds under two adapters: the first brings the signal out, the second pulls every record down."""
    _, signal_N = rare()
    return -1 + 4 * weights_TL[0, 0] * signal_N - 6 * weights_TL[1, 0]


def learnt(guard: float) -> Tensor:
    """λ after learning on the toy."""
    method = AdaMerging(guard=guard)
    priors = [mean_prediction(toy_logits(START))]
    return learn_weights(lambda weights: method.loss([toy_logits(weights)], priors), START, 300, 1e-2)


def test_plain_entropy_ends_in_the_majority_class() -> None:
    """As the paper has it: all records excluded is the most certain answer when few are included."""
    weights_TL = learnt(guard=0)
    share = mean_prediction(toy_logits(weights_TL)) / mean_prediction(toy_logits(START))
    assert prediction_entropy(toy_logits(weights_TL)) < prediction_entropy(toy_logits(START))
    assert weights_TL[1, 0] > 0.9
    assert share < 0.25


def test_the_guard_keeps_the_share_and_lowers_the_entropy_by_the_signal() -> None:
    """Without it this test fails: the second adapter would be turned up, as the test above shows."""
    weights_TL = learnt(guard=10)
    share = mean_prediction(toy_logits(weights_TL)) / mean_prediction(toy_logits(START))
    assert 0.8 < share < 1.25
    assert weights_TL[0, 0] > 0.9
    assert prediction_entropy(toy_logits(weights_TL)) < 0.7 * prediction_entropy(toy_logits(START))


@pytest.mark.parametrize("prior", [0.02, 0.3, 0.9])
def test_the_guard_is_least_at_the_prior_for_records_that_are_alike(prior: float) -> None:
    """There the loss is KL(p‖π), so a shift of all records gains nothing; entropy alone falls towards 0 and 1."""
    shares = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    losses = [guarded_entropy(torch.logit(share).expand(10), torch.tensor(prior), 3).item() for share in shares]
    assert shares[int(np.argmin(losses))].item() == pytest.approx(prior, abs=1e-6)
    expected = [3 * p * math.log(p / prior) + 3 * (1 - p) * math.log((1 - p) / (1 - prior)) for p in shares.tolist()]
    assert losses == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("guard", [1, 10])
def test_the_guard_lets_certain_predictions_drift_as_far_as_it_says(guard: float) -> None:
    """The share of included ones is pulled towards one half, to logit(p̄) = g/(1 + g)·logit(π)."""
    logits = [torch.where(torch.arange(2000) < included, 60.0, -60.0).double() for included in range(1, 2000)]
    losses = [guarded_entropy(logits_N, torch.tensor(0.02), guard).item() for logits_N in logits]
    expected = torch.sigmoid(guard / (1 + guard) * torch.logit(torch.tensor(0.02))).item()
    assert (int(np.argmin(losses)) + 1) / 2000 == pytest.approx(expected, abs=1 / 2000)


def test_the_guarded_entropy_by_hand() -> None:
    """Predictions .9 and .1 with a prior of one half: their own entropy less that of their mean; and another prior."""
    logits_N = torch.logit(torch.tensor([0.9, 0.1], dtype=torch.float64))
    own = -0.9 * math.log(0.9) - 0.1 * math.log(0.1)
    assert guarded_entropy(logits_N, torch.tensor(0.5), 7).item() == pytest.approx(own - math.log(2))
    divergence = 0.5 * math.log(0.5 / 0.2) + 0.5 * math.log(0.5 / 0.8)
    other = guarded_entropy(logits_N, torch.tensor(0.2, dtype=torch.float64), 7)
    assert other.item() == pytest.approx(own - math.log(2) + 7 * divergence)


def test_entropy_is_that_of_bernoulli_predictions() -> None:
    """At any size of the log-odds, with a gradient, up to where a naive formula gives NaN."""
    logits_N = torch.linspace(-30, 30, 101, dtype=torch.float64)
    p = torch.sigmoid(logits_N)
    naive = -(p * p.log() + (1 - p) * torch.sigmoid(-logits_N).log())
    torch.testing.assert_close(prediction_entropy(logits_N), naive.mean())
    extreme = torch.tensor([-1e4, 1e4], requires_grad=True)
    prediction_entropy(extreme).backward()
    assert prediction_entropy(extreme).item() == 0
    assert bool(extreme.grad.isfinite().all())
    certain = torch.full((4,), 1e4, requires_grad=True)
    guarded_entropy(certain, torch.tensor(0.02), 10).backward()
    assert bool(certain.grad.isfinite().all())


def test_the_loss_is_the_mean_over_the_datasets() -> None:
    """Each with its own prior, and as many priors as datasets."""
    logits, priors = [torch.randn(5), torch.randn(9)], [torch.tensor(0.1), torch.tensor(0.4)]
    expected = sum(guarded_entropy(*pair, 10) for pair in zip(logits, priors, strict=True)) / 2
    torch.testing.assert_close(AdaMerging().loss(logits, priors), expected)
    plain = (prediction_entropy(logits[0]) + prediction_entropy(logits[1])) / 2
    torch.testing.assert_close(AdaMerging(guard=0).loss(logits, priors), plain)
    with pytest.raises(ValueError, match="shorter"):
        AdaMerging().loss(logits, priors[:1])


@pytest.mark.usefixtures("global_rng_untouched")
def test_weights_are_learnt_by_adam_within_zero_and_one() -> None:
    """A step is about the learning rate; a λ at the border stays there, and comes back when the slope turns."""
    first = learn_weights(
        lambda weights: (weights * torch.tensor([[1.0, -3.0]])).sum(), torch.full((1, 2), 0.3), 5, 1e-3
    )
    torch.testing.assert_close(first, torch.tensor([[0.295, 0.305]]))
    calls = iter(range(1000))

    def there_and_back(weights_TL: Tensor) -> Tensor:
        return (1 if next(calls) < 50 else -1) * weights_TL.sum()

    assert learn_weights(lambda weights: weights.sum(), torch.full((1, 1), 0.3), 60, 1e-2).item() == 0
    assert learn_weights(lambda weights: -weights.sum(), torch.full((1, 1), 0.3), 100, 1e-2).item() == 1
    assert learn_weights(there_and_back, torch.full((1, 1), 0.3), 200, 1e-2).item() > 0.3


def test_the_start_is_not_changed_and_the_loss_must_be_finite() -> None:
    """A copy is learnt; NaN stops with a line."""
    start = torch.full((1, 1), 0.3)
    learn_weights(lambda weights: weights.sum(), start, 3, 0.1)
    assert start.item() == pytest.approx(0.3)
    with pytest.raises(UserError, match="the loss of λ is nan at step 0; lower"):
        learn_weights(lambda weights: weights.sum() * torch.nan, start, 3, 0.1)
