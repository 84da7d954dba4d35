"""The pairwise contrastive loss equals its formula, whatever the order of the pairs."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from layersel.tasks.screening.losses.pairwise import pairwise_contrastive_loss


def naive_loss(left: Tensor, right: Tensor, same: list[bool], temperature: float) -> float:
    """L = −(1/|P|) Σ_{p∈P} (s_p − log Σ_{n∈N} exp s_n), pair by pair."""
    scores = []
    for x, y in zip(left.tolist(), right.tolist(), strict=True):
        dot = sum(a * b for a, b in zip(x, y, strict=True))
        scores.append(dot / math.sqrt(sum(a * a for a in x)) / math.sqrt(sum(b * b for b in y)) / temperature)
    positive = [score for score, is_same in zip(scores, same, strict=True) if is_same]
    negative = [score for score, is_same in zip(scores, same, strict=True) if not is_same]
    denominator = math.log(sum(math.exp(score) for score in negative))
    return -sum(score - denominator for score in positive) / len(positive)


def pairs(n_same: int, n_different: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random vectors of 5 dimensions in double precision."""
    generator = torch.Generator().manual_seed(seed)
    left, right = torch.randn(2, n_same + n_different, 5, generator=generator, dtype=torch.float64)
    return left, right, torch.arange(n_same + n_different) < n_same


@given(n_same=st.integers(1, 6), n_different=st.integers(1, 6), seed=st.integers(0, 99), tau=st.floats(0.05, 2))
def test_equals_the_formula(n_same: int, n_different: int, seed: int, tau: float) -> None:
    """Against a loop over the pairs, for any number of them."""
    left, right, same = pairs(n_same, n_different, seed)
    loss = pairwise_contrastive_loss(left, right, same, tau)
    assert loss is not None
    assert loss.item() == pytest.approx(naive_loss(left, right, same.tolist(), tau), rel=1e-9, abs=1e-9)


def test_gradient() -> None:
    """Against finite differences."""
    left, right, same = pairs(3, 4, seed=1)
    left.requires_grad_()
    right.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: pairwise_contrastive_loss(x, y, same, 0.2), (left, right))


@given(seed=st.integers(0, 99))
def test_order_and_sides_do_not_matter(seed: int) -> None:
    """Pairs are a set, and a pair has no first record; lengths of vectors do not count either."""
    left, right, same = pairs(3, 5, seed)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
    swap = (torch.arange(8) % 3 == seed % 3).unsqueeze(1)
    loss = pairwise_contrastive_loss(left, right, same, 0.2)
    for x, y, is_same in (
        (left[order], right[order], same[order]),
        (torch.where(swap, right, left), torch.where(swap, left, right), same),
        (left * 7, right * 0.1, same),
    ):
        torch.testing.assert_close(pairwise_contrastive_loss(x, y, is_same, 0.2), loss)


def test_is_lower_when_the_classes_are_apart() -> None:
    """The perfect batch has s_p = 1/τ and s_n = −1/τ, so L = −2/τ + log |N|: negative, as the docstring says."""
    east, west = torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 0.0])
    left, right = torch.stack([east, west, east, east]), torch.stack([east, west, west, west])
    perfect = pairwise_contrastive_loss(left, right, torch.tensor([True, True, False, False]), 0.5)
    worst = pairwise_contrastive_loss(left, right, torch.tensor([False, False, True, True]), 0.5)
    assert perfect is not None
    assert worst is not None
    assert perfect.item() == pytest.approx(-4 + math.log(2))
    assert worst.item() == pytest.approx(4 + math.log(2))


@pytest.mark.parametrize(("n_same", "n_different"), [(4, 0), (0, 4), (1, 0), (0, 1)])
def test_is_undefined_without_one_kind_of_pair(n_same: int, n_different: int) -> None:
    """None, not NaN and not 0."""
    assert pairwise_contrastive_loss(*pairs(n_same, n_different, seed=0), temperature=0.2) is None
