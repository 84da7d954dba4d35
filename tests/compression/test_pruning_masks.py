"""Exactly as many weights go as wanted, the lowest of each group, whatever the ties."""

import math
import re
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from layersel.compression.pruning.masks import keep_highest, keep_pattern
from layersel.compression.pruning.patterns import check_divides, floor_share, parse_pattern
from layersel.errors import UserError

SHARES = [0.0, 0.3, 0.5, 1.0]
PATTERNS = ["2:4", "1:4", "4:8", "1:2"]


def naive_keep(scores_OI: Tensor, count: int, group: int) -> Tensor:
    """Row by row, group by group: the places of the lowest `count` scores, of equal ones the first."""
    keep = torch.ones_like(scores_OI, dtype=torch.bool)
    for row, scores in enumerate(scores_OI.tolist()):
        for begin in range(0, len(scores), group):
            for place in sorted(range(begin, begin + group), key=lambda place: (scores[place], place))[:count]:
                keep[row, place] = False
    return keep


def _scores(kind: str, width: int = 24) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand(7, width, generator=generator)
    return {"distinct": drawn, "tied": (4 * drawn).round(), "constant": torch.ones_like(drawn)}[kind]


kinds = pytest.mark.parametrize("kind", ["distinct", "tied", "constant"])


@kinds
@pytest.mark.parametrize("share", SHARES)
def test_shares_equal_the_naive_reference(kind: str, share: float) -> None:
    """Every row loses exactly ⌊s·I⌋, also where many or all scores are the same, and for s = 0 and 1."""
    scores_OI = _scores(kind)
    keep_OI = keep_highest(scores_OI, share)
    assert (~keep_OI).sum(dim=1).tolist() == [math.floor(share * 24)] * 7
    assert torch.equal(keep_OI, naive_keep(scores_OI, math.floor(share * 24), 24))


@kinds
@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_equal_the_naive_reference(kind: str, pattern: str) -> None:
    """Every m consecutive inputs lose exactly n."""
    n, m = (int(number) for number in pattern.split(":"))
    scores_OI = _scores(kind)
    keep_OI = keep_pattern(scores_OI, pattern)
    assert set((~keep_OI).reshape(-1, m).sum(dim=1).tolist()) == {n}
    assert torch.equal(keep_OI, naive_keep(scores_OI, n, m))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 60), st.integers(0, 2**16))
def test_what_stays_is_never_lower_than_what_goes(thousandths: int, width: int, seed: int) -> None:
    """This holds for any share and width, and a higher share only takes more."""
    scores_OI = torch.randint(5, (3, width), generator=torch.Generator().manual_seed(seed)).float()
    share = thousandths / 1000
    keep_OI = keep_highest(scores_OI, share)
    for keep_I, scores_I in zip(keep_OI, scores_OI, strict=True):
        assert int((~keep_I).sum()) == Fraction(thousandths, 1000) * width // 1
        if keep_I.any() and not keep_I.all():
            assert scores_I[keep_I].min() >= scores_I[~keep_I].max()
    more_OI = keep_highest(scores_OI, min(share + 0.1, 1.0))
    assert not (more_OI & ~keep_OI).any()


def test_a_share_means_what_is_written() -> None:
    """In binary floating point, .29·100 and .57·100 are a little below 29 and 57."""
    assert [floor_share(share, 100) for share in (0.29, 0.57, 0.3, 1.0, 0.0)] == [29, 57, 30, 100, 0]
    assert int(0.29 * 100) == 28


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan, math.inf])
def test_no_share_is_refused(share: float) -> None:
    """Whoever asks, the message is one line."""
    with pytest.raises(UserError, match=r"^pruning.sparsity: expected 0 to 1, but got \S+$"):
        keep_highest(torch.ones(2, 4), share)


@pytest.mark.parametrize("pattern", ["", "2", "2:", "4:4", "0:4", "5:4", "-1:4", "a:b", "2:4:8", "2.0:4", "0:0"])
def test_no_pattern_is_refused(pattern: str) -> None:
    """Patterns of a wrong form, and ones that leave none or all, are refused."""
    message = rf"^pruning.pattern: expected n:m with 0 < n < m, such as 2:4, but got {re.escape(repr(pattern))}$"
    with pytest.raises(UserError, match=message):
        parse_pattern(pattern)


def test_a_pattern_that_does_not_divide_is_refused() -> None:
    """The message is one line that names the module."""
    with pytest.raises(UserError, match=r"divides the 10 inputs of layer\.0\.up, but got 2:4; use another.*$"):
        check_divides("2:4", 10, "layer.0.up")
    with pytest.raises(UserError, match="divides the 10 inputs"):
        keep_pattern(torch.ones(2, 10), "2:4")
