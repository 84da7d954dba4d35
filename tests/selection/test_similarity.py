"""CKA against the feature-space formula, HSIC₁ against its U-statistic, and what CKA must not depend on."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from layersel.errors import UserError
from layersel.selection.measures.similarity import KERNELS, cka, cka_from_grams, hsic, linear_kernel, rbf_kernel

every_kernel = pytest.mark.parametrize("kernel", ["linear", "rbf"])
every_estimate = pytest.mark.parametrize("debiased", [False, True])


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Independent standard normals in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def related(n: int = 24, d: int = 6, e: int = 9) -> tuple[Tensor, Tensor]:
    """Two representations with a part in common, of different widths."""
    x = normal(n, d, seed=1)
    return x, x.tanh() @ normal(d, e, seed=2) + normal(n, e, seed=3)


def feature_space_cka(x: np.ndarray, y: np.ndarray) -> float:
    """‖XᵀY‖²_F / (‖XᵀX‖_F ‖YᵀY‖_F), the columns centred."""
    x, y = x - x.mean(0), y - y.mean(0)
    return np.linalg.norm(x.T @ y) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))


def u_statistic_hsic(k: Tensor, m: Tensor) -> float:
    """Song et al. 2012: the mean of k_ij (m_ij + m_qr − 2 m_iq) over all quadruples of different records."""
    terms = [
        (k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q])).item() for i, j, q, r in itertools.permutations(range(len(k)), 4)
    ]
    return sum(terms) / len(terms)


def trace_hsic(k: Tensor, m: Tensor) -> float:
    """HSIC₁ as Song et al. print it."""
    k, m = k - k.diag().diag(), m - m.diag().diag()
    n = len(k)
    corrections = k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (k @ m).sum()
    return (((k @ m).trace() + corrections) / (n * (n - 3))).item()


@pytest.mark.parametrize("shapes", [(24, 6, 9), (8, 50, 3), (4, 1, 1), (32, 8, 200)])
def test_linear_cka_is_the_feature_space_formula(shapes: tuple[int, int, int]) -> None:
    """This holds with more dimensions than records too, and at the smallest N."""
    x, y = related(*shapes)
    assert cka(x, y).item() == pytest.approx(feature_space_cka(x.numpy(), y.numpy()), rel=1e-10)


def test_biased_hsic_is_the_centred_trace() -> None:
    """tr(KHLH)/(n−1)²."""
    x, y = related(12)
    k, m = rbf_kernel(x), linear_kernel(y)
    h = torch.eye(12, dtype=torch.float64) - 1 / 12
    assert hsic(k, m).item() == pytest.approx((k @ h @ m @ h).trace().item() / 11**2)


@pytest.mark.parametrize("n", [4, 6])
@every_kernel
def test_debiased_hsic_is_the_u_statistic(n: int, kernel: str) -> None:
    """The loop over quadruples, the printed formula and the U-centred form agree."""
    build = KERNELS[kernel]
    k, m = build(normal(n, 3, seed=1)), build(normal(n, 5, seed=2))
    assert hsic(k, m, debiased=True).item() == pytest.approx(u_statistic_hsic(k, m))
    assert hsic(k, m, debiased=True).item() == pytest.approx(trace_hsic(k, m))


@given(st.integers(4, 12), st.integers(1, 20), st.integers(0, 1000))
@settings(deadline=None, max_examples=50)
def test_debiased_cka_is_the_ratio_of_the_trace_form(n: int, d: int, seed: int) -> None:
    """This holds whatever the sign."""
    k, m = linear_kernel(normal(n, d, seed=seed)), linear_kernel(normal(n, d, seed=seed + 1))
    expected = trace_hsic(k, m) / math.sqrt(trace_hsic(k, k) * trace_hsic(m, m))
    assert cka_from_grams(k, m, debiased=True).item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


@every_kernel
@every_estimate
def test_cka_is_its_ratio_of_hsic(kernel: str, debiased: bool) -> None:
    """The normalised form skips the factors of HSIC that cancel."""
    build = KERNELS[kernel]
    x, y = related()
    k, m = build(x), build(y)
    xx, yy, xy = hsic(k, k, debiased), hsic(m, m, debiased), hsic(k, m, debiased)
    assert cka(x, y, kernel, debiased).item() == pytest.approx((xy / (xx * yy).sqrt()).item())


def test_rbf_kernel_against_a_loop() -> None:
    """An odd and an even number of pairs, for the median."""
    for n in (4, 5, 6):
        x = normal(n, 3)
        d2 = {(i, j): float(((x[i] - x[j]) ** 2).sum()) for i in range(n) for j in range(n)}
        median = np.median([d2[pair] for pair in itertools.combinations(range(n), 2)])
        expected = [[math.exp(-d2[i, j] / (2 * 0.5**2 * median)) for j in range(n)] for i in range(n)]
        torch.testing.assert_close(rbf_kernel(x, t=0.5), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize(("n", "biased"), [(32, 0.198), (64, 0.114), (128, 0.056), (256, 0.029)])
def test_debiasing_removes_the_inflation_of_small_samples(n: int, biased: float) -> None:
    """Independent normals, D = 8: the biased CKA is near D/(D+N), the debiased one near 0, on average."""
    pairs = [(normal(n, 8, seed=2 * i), normal(n, 8, seed=2 * i + 1)) for i in range(60)]
    mean_biased = torch.stack([cka(x, y) for x, y in pairs]).mean().item()
    mean_debiased = torch.stack([cka(x, y, debiased=True) for x, y in pairs]).mean().item()
    assert mean_biased == pytest.approx(biased, rel=0.1)
    assert mean_biased == pytest.approx(8 / (8 + n), rel=0.1)
    assert abs(mean_debiased) < 0.1 * mean_biased


def test_debiased_cka_may_be_negative() -> None:
    """An unbiased estimate of 0 must be so at times; it is no NaN."""
    values = [cka(normal(8, 4, seed=2 * i), normal(8, 4, seed=2 * i + 1), debiased=True) for i in range(20)]
    assert min(values) < 0 < max(values)
    assert not torch.stack(values).isnan().any()


@every_kernel
@every_estimate
@pytest.mark.parametrize(
    "change",
    [
        lambda x: x @ torch.linalg.qr(normal(6, 6, seed=5)).Q,
        lambda x: 1e-3 * x,
        lambda x: -250 * x,
        lambda x: x + 1e4,
        lambda x: torch.cat([x, torch.full((len(x), 2), 3.7, dtype=x.dtype)], dim=1),
    ],
    ids=["orthogonal", "smaller", "larger, mirrored", "translation", "constant columns"],
)
def test_invariance(change: Callable[[Tensor], Tensor], kernel: str, debiased: bool) -> None:
    """Orthogonal maps, isotropic scaling, translation (Kornblith et al. 2019, section 2)."""
    x, y = related()
    expected = cka(x, y, kernel, debiased).item()
    assert cka(change(x), y, kernel, debiased).item() == pytest.approx(expected, rel=1e-8)
    assert cka(y, change(x), kernel, debiased).item() == pytest.approx(expected, rel=1e-8)


@every_kernel
@every_estimate
def test_the_order_of_the_records_matters_only_if_it_differs(kernel: str, debiased: bool) -> None:
    """One permutation of both changes nothing, of one destroys the match."""
    x, y = related()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    expected = cka(x, y, kernel, debiased).item()
    assert cka(x[order], y[order], kernel, debiased).item() == pytest.approx(expected)
    assert cka(x[order], y, kernel, debiased).item() < 0.8 * expected


@every_kernel
@every_estimate
def test_symmetry_and_identity(kernel: str, debiased: bool) -> None:
    """CKA(X, Y) = CKA(Y, X) and CKA(X, X) = 1."""
    x, y = related()
    assert cka(x, y, kernel, debiased).item() == pytest.approx(cka(y, x, kernel, debiased).item(), rel=1e-12)
    assert cka(x, x, kernel, debiased).item() == pytest.approx(1, abs=1e-12)


@every_kernel
@every_estimate
@given(n=st.integers(4, 20), d=st.integers(1, 30), seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=25)
def test_the_range_is_bounded(kernel: str, debiased: bool, n: int, d: int, seed: int) -> None:
    """Cauchy–Schwarz, rounding included."""
    x, y = normal(n, d, seed=seed), normal(n, 3, seed=seed + 1)
    assert (-1 if debiased else 0) <= cka(x, y, kernel, debiased).item() <= 1
    assert cka(x, x, kernel, debiased).item() <= 1


@every_kernel
@every_estimate
@pytest.mark.parametrize("row", [torch.zeros(7), torch.full((7,), 0.1, dtype=torch.float64), 100 * normal(300)])
def test_a_constant_representation_has_no_cka(row: Tensor, kernel: str, debiased: bool) -> None:
    """This holds where the mean of equal numbers is off by a rounding, or their distance by a cancellation."""
    x, y = row.repeat(24, 1), related()[1]
    assert cka(x, y, kernel, debiased).isnan()
    assert cka(y, x, kernel, debiased).isnan()
    assert cka(x, x, kernel, debiased).isnan()


@every_estimate
def test_a_constant_gram_matrix_has_no_cka(debiased: bool) -> None:
    """A resample may draw one record only; rounding errors must not pass for a direction."""
    gram = linear_kernel(normal(10, 3))
    constant = torch.full((10, 10), 0.1, dtype=torch.float64)
    wobbling = constant * (1 + 2**-52 * normal(10, 10).sign())
    assert cka_from_grams(constant, gram, debiased).isnan()
    assert cka_from_grams(gram, wobbling, debiased).isnan()


def test_rbf_kernel_of_mostly_identical_records_is_its_limit() -> None:
    """The median distance is 0."""
    x = torch.zeros(6, 2)
    x[0] = 3
    expected = torch.ones(6, 6, dtype=torch.float64)
    expected[0, 1:] = expected[1:, 0] = 0
    assert torch.equal(rbf_kernel(x), expected)
    assert cka(x, x, "rbf").item() == pytest.approx(1)


@every_kernel
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_low_precision_inputs_are_computed_in_float64(dtype: torch.dtype, kernel: str) -> None:
    """The result is that of the same numbers in float64."""
    x, y = (part.to(dtype) for part in related())
    result = cka(x, y, kernel)
    assert result.dtype is torch.float64
    assert result.ndim == 0
    assert result == cka(x.double(), y.double(), kernel)


def test_half_precision_does_not_overflow() -> None:
    """Squares of 3e4 exceed the largest float16, 65504."""
    x, y = related()
    x = (x * 1e4).half()
    assert cka(x, y).item() == pytest.approx(feature_space_cka(x.double().numpy(), y.numpy()), rel=1e-10)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
@every_estimate
def test_extreme_scales_neither_vanish_nor_overflow(scale: float, debiased: bool) -> None:
    """The fourth powers of 1e±30 are still float64 numbers."""
    x, y = related()
    assert cka(scale * x, scale * y, debiased=debiased).item() == pytest.approx(cka(x, y, debiased=debiased).item())


@every_kernel
@every_estimate
@pytest.mark.parametrize("offset", [1e4, 1e7])
def test_a_large_offset_costs_no_digits(offset: float, kernel: str, debiased: bool) -> None:
    """Single dimensions of a residual stream have means of 1e3 and more."""
    x, y = ((part * 1024).round() / 1024 for part in related())  # exact in float64 beside the offset
    x, y = x.float(), y.float()
    assert cka(x.double() + offset, y.double() - offset, kernel, debiased).item() == pytest.approx(
        cka(x, y, kernel, debiased).item(), rel=1e-11
    )


@every_kernel
@every_estimate
def test_a_subsample_of_the_grams_is_the_cka_of_the_subsample(kernel: str, debiased: bool) -> None:
    """It needs no new kernels; the RBF bandwidth stays that of the whole probe."""
    build = KERNELS[kernel]
    x, y = related()
    rows = torch.randperm(24, generator=torch.Generator().manual_seed(0))[:15]
    k, m = build(x)[rows][:, rows], build(y)[rows][:, rows]
    tolerance = 1e-9 if kernel == "linear" else 0.05
    assert cka_from_grams(k, m, debiased).item() == pytest.approx(
        cka(x[rows], y[rows], kernel, debiased).item(), abs=tolerance
    )


def test_records_drawn_twice_inflate_the_debiased_cka() -> None:
    """The docstring's warning to whoever bootstraps."""
    generator = torch.Generator().manual_seed(0)
    grams = [
        (linear_kernel(normal(32, 64, seed=2 * i)), linear_kernel(normal(32, 64, seed=2 * i + 1))) for i in range(20)
    ]
    rows = [torch.randint(32, (32,), generator=generator) for _ in grams]
    resampled = [cka_from_grams(k[r][:, r], m[r][:, r], debiased=True) for (k, m), r in zip(grams, rows, strict=True)]
    whole = [cka_from_grams(k, m, debiased=True) for k, m in grams]
    assert torch.stack(resampled).mean() > torch.stack(whole).mean() + 0.1


@pytest.mark.parametrize("function", [cka, cka_from_grams, hsic])
def test_inputs_are_left_alone(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """No centring in place."""
    x, y = normal(6, 6, seed=1), normal(6, 6, seed=2)
    before = x.clone(), y.clone()
    function(x, y, debiased=True)
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])


@every_kernel
@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(3, 5), r"expected a matrix of at least 4 records, but got the shape \(3, 5\)"),
        (torch.zeros(8), r"expected a matrix of at least 4 records, but got the shape \(8,\)"),
        (torch.zeros(8, 0), r"at least 4 records, but got the shape \(8, 0\)"),
        (
            torch.tensor([[1.0], [math.nan], [math.inf], [2.0]]),
            "x_ND: expected finite numbers, but 2 of 4 are",
        ),
    ],
)
def test_representations_that_cannot_be_compared_are_refused(x: Tensor, message: str, kernel: str) -> None:
    """They are refused on either side."""
    with pytest.raises(ValueError, match=message):
        cka(x, x, kernel)
    with pytest.raises(ValueError, match=message):
        cka(normal(8, 5), x, kernel)


@every_kernel
def test_different_numbers_of_records_are_refused(kernel: str) -> None:
    """The two must describe the same records."""
    with pytest.raises(ValueError, match=r"one size, but got the shapes \(8, 8\) and \(9, 9\)"):
        cka(normal(8, 5), normal(9, 5), kernel)


@pytest.mark.parametrize("function", [cka_from_grams, hsic])
def test_matrices_that_are_no_grams_are_refused(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Representations passed by mistake, too few records, NaN."""
    with pytest.raises(ValueError, match="expected two square ones"):
        function(normal(8, 5), normal(8, 5))
    with pytest.raises(ValueError, match="at least 4 records"):
        function(normal(3, 3), normal(3, 3))
    broken = normal(4, 4)
    broken[1, 2] = math.nan
    with pytest.raises(ValueError, match="l_NN: expected finite numbers, but 1 of 16 are NaN"):
        function(normal(4, 4), broken)


def test_an_unknown_kernel_names_the_known_ones() -> None:
    """The message is one line that ends the search."""
    with pytest.raises(UserError, match="kernel: expected one of linear, rbf, but got 'poly'"):
        cka(normal(4, 2), normal(4, 2), "poly")


@pytest.mark.parametrize("t", [0.0, -1.0, math.nan])
def test_a_bandwidth_must_be_positive(t: float) -> None:
    """NaN included."""
    with pytest.raises(UserError, match="t: expected a number above 0"):
        rbf_kernel(normal(4, 2), t)
