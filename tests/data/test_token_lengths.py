"""Token lengths."""

import math
import statistics

from hypothesis import given
from hypothesis import strategies as st

from layersel.data.tokens import token_lengths


@given(st.lists(st.integers(0, 5000), min_size=1), st.integers(1, 600))
def test_token_lengths(lengths: list[int], limit: int) -> None:
    """Median and maximum are the standard library's; only what exceeds the limit is cut."""
    found = token_lengths(lengths, limit)
    assert found["median"] == statistics.median(lengths)
    assert found["max"] == max(lengths)
    assert found["median"] <= found["quantile_95"] <= found["max"]
    assert found["truncated"] == len([length for length in lengths if length > limit])


def test_token_lengths_of_nothing() -> None:
    """No text has no median."""
    found = token_lengths([], 512)
    assert math.isnan(found["median"])
    assert found["truncated"] == 0
