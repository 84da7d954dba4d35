"""Weight grids: the naive formula, what stays where it is, and packed storage."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from layersel.compression.quantisation.integer_grid import IntegerGrid, pack, snap, to_grid, unpack

BITS = {4: 7, 8: 127}


def random_weights(outputs: int = 999, inputs: int = 23, seed: int = 0) -> Tensor:
    """Rows of very different sizes, one of them zero."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(outputs, inputs, generator=generator) * torch.logspace(-6, 4, outputs).unsqueeze(1)
    weight[outputs // 2] = 0
    return weight


@pytest.mark.parametrize("bits", BITS)
def test_integers_are_those_of_the_formula(bits: int) -> None:
    """W_q = clip(round(q·W/max|W|), −q−1, q), row by row, in NumPy."""
    weight, q = random_weights(), BITS[bits]
    integers, scales = to_grid(weight, bits)
    for row, got, scale in zip(weight.numpy(), integers.numpy(), scales.numpy(), strict=True):
        largest = np.abs(row).max()
        expected = np.clip(np.round(q * row / largest), -q - 1, q) if largest > 0 else np.zeros_like(row)
        np.testing.assert_array_equal(got, expected)
        np.testing.assert_allclose(scale, largest / q, rtol=1e-6)


@pytest.mark.parametrize("bits", BITS)
def test_weights_on_the_grid_stay(bits: int) -> None:
    """Rounding again changes no bit, and a row's largest weight keeps its size."""
    once = random_weights()
    largest = once.abs().amax(dim=1)
    snap(once, bits)
    twice = once.clone()
    snap(twice, bits)
    assert torch.equal(once, twice)
    torch.testing.assert_close(once.abs().amax(dim=1), largest, rtol=1e-6, atol=0)


@given(
    st.sampled_from(sorted(BITS)),
    st.lists(st.floats(-(2.0**99), 2.0**99, width=32, allow_subnormal=False), min_size=1, max_size=9),
)
@settings(max_examples=200, deadline=None)
def test_no_weight_moves_further_than_half_a_step(bits: int, row: list[float]) -> None:
    """This holds for any finite row, and the integers can be read off the rounded weights again."""
    weight = torch.tensor([row])
    rounded = weight.clone()
    grid = snap(rounded, bits)
    step = weight.abs().max() / BITS[bits]
    assert bool(((rounded - weight).abs() <= step * 0.501 + 1e-37).all())
    if float(step) > 1e-30:
        assert torch.equal(rounded, grid.weights(to_grid(weight, bits)[0]))


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("inputs", [1, 2, 7, 8])
def test_packing_loses_nothing(bits: int, inputs: int) -> None:
    """All integers of the format, with an odd number of columns too, in half a byte each where they have 4 bits."""
    q = BITS[bits]
    integers = torch.arange(-q - 1, q + 1, dtype=torch.int8).repeat(inputs).view(inputs, -1).t().contiguous()
    packed = pack(integers, bits)
    assert packed.numel() == integers.shape[0] * -(-inputs * bits // 8)
    assert torch.equal(unpack(packed, bits, inputs), integers)


@pytest.mark.parametrize("bits", BITS)
def test_integers_are_read_off_rounded_weights(bits: int) -> None:
    """This holds where pruning has taken a row's largest weight since; not where a weight has left the grid."""
    weight = random_weights()
    expected, _ = to_grid(weight, bits)
    grid = snap(weight, bits)
    assert torch.equal(grid.integers(weight), expected)
    weight[0, weight[0].abs().argmax()] = 0
    assert int(grid.integers(weight).abs().max()) == BITS[bits]
    weight[1, 1] *= 1.001
    assert grid.integers(weight) is None


def test_zero_rows_have_no_scale() -> None:
    """They stay zero, and nothing becomes NaN."""
    weight = torch.zeros(2, 5)
    assert torch.equal(snap(weight, 4).scales_O, torch.zeros(2))
    assert torch.equal(weight, torch.zeros(2, 5))
    assert torch.equal(IntegerGrid(4, torch.zeros(2)).integers(weight), torch.zeros(2, 5, dtype=torch.int8))
