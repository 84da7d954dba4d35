"""The integer linear layer against integer arithmetic in NumPy, and its engines against each other."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from transformers.pytorch_utils import Conv1D

from layersel.compression.precision import Precision
from layersel.compression.quantisation import engines
from layersel.compression.quantisation.engines import ENGINES, usable_engines
from layersel.compression.quantisation.int8_linear import ENTRIES, Int8Linear
from layersel.errors import UserError

USABLE = {engine.name: engine for engine in usable_engines()}
KERNELS = {
    "onednn_unsigned": "onednn::qlinear_pointwise",
    "onednn": "onednn::qlinear_pointwise",
    "int_mm": "aten::_int_mm",
}
each_engine = pytest.mark.parametrize("engine", USABLE)

ROWS = ENTRIES // 48
"""More than are treated at a time."""
NONE = torch.empty(0, dtype=torch.long)


def layer(inputs: int = 48, outputs: int = 40, bias: bool = True, seed: int = 0) -> nn.Linear:
    """A linear layer with rows of different sizes."""
    linear = nn.Linear(inputs, outputs, bias=bias)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        linear.weight.mul_(torch.logspace(-2, 1, outputs).unsqueeze(1))
    return linear


def rows(*shape: int, seed: int = 1) -> Tensor:
    """Random entries; the first of the last dimension is an outlier."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    x[..., 0] *= 60
    return x


@torch.no_grad()
def run(module: nn.Module, x: Tensor) -> Tensor:
    """The module's output, without gradients."""
    return module(x)


def reference(linear: nn.Linear, x_NI: Tensor, columns: list[int]) -> np.ndarray:
    """Integers of rows and weights multiplied as integers; the columns in floating point (float64)."""
    weight, x = linear.weight.detach().numpy(), x_NI.numpy()
    rest = [column for column in range(x.shape[1]) if column not in columns]
    scale_x = np.abs(x[:, rest]).max(axis=1, keepdims=True) / np.float32(127)
    scale_w = np.abs(weight[:, rest]).max(axis=1) / np.float32(127)
    x_q = np.rint(x[:, rest] * (np.float32(1) / scale_x)).astype(np.int64)
    w_q = np.rint(weight[:, rest] / scale_w[:, None]).astype(np.int64)
    exact = x[:, columns].astype(np.float64) @ weight[:, columns].T.astype(np.float64)
    return (x_q @ w_q.T) * scale_x.astype(np.float64) * scale_w + exact + linear.bias.detach().numpy()


@each_engine
@pytest.mark.parametrize("columns", [[], [0], [0, 7, 47]], ids=str)
def test_equals_integer_arithmetic(engine: str, columns: list[int]) -> None:
    """Products of integers with the scales of row and output, plus the outlier columns and the bias."""
    linear, x = layer(), rows(9, 48)
    got = run(Int8Linear.of(linear, torch.tensor(columns, dtype=torch.long), USABLE[engine]), x)
    # An output may be small against the products that make it.
    np.testing.assert_allclose(got, reference(linear, x, columns), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("engine", [name for name in USABLE if name in KERNELS])
def test_real_integer_kernels_run(engine: str) -> None:
    """The operator that multiplies is the engine's own, and no large product is left in floating point."""
    module = Int8Linear.of(layer(), NONE, USABLE[engine])
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        run(module, rows(9, 48))
    operators = {event.key for event in seen.key_averages()}
    assert KERNELS[engine] in operators
    assert not operators & {"aten::linear", "aten::addmm", "aten::mm", "aten::matmul"}


@pytest.mark.parametrize("shape", [(1, 48), (3, 48), (2, 5, 48), (48,), (ROWS + 3, 48)], ids=str)
@pytest.mark.parametrize("outputs", [1, 31, 40])
def test_engines_agree(shape: tuple[int, ...], outputs: int) -> None:
    """They agree on any shape to the last bit: which is chosen changes no result."""
    linear, x = layer(outputs=outputs), rows(*shape)
    results = [run(Int8Linear.of(linear, torch.tensor([0]), engine), x) for engine in USABLE.values()]
    assert results[0].shape == (*shape[:-1], outputs)
    for result in results[1:]:
        assert torch.equal(result, results[0])


EXTREMES = {
    "largest": lambda shape, _: torch.full(shape, 127),
    "smallest": lambda shape, _: torch.full(shape, -127),
    "alternating": lambda shape, _: torch.full(shape, 127).mul_(torch.arange(shape[1]) % 2 * 2 - 1),
    "random": lambda shape, generator: torch.randint(-127, 128, shape, generator=generator),
    "large": lambda shape, generator: torch.randint(100, 128, shape, generator=generator),  # odd sums beyond 2^24
    "zero": lambda shape, _: torch.zeros(shape, dtype=torch.long),
}


@each_engine
@pytest.mark.parametrize("rows_of", EXTREMES)
@pytest.mark.parametrize("weights_of", EXTREMES)
@pytest.mark.parametrize("inputs", [1, 3, 384, 1024, 1025, 3071])
def test_sums_are_exact(engine: str, rows_of: str, weights_of: str, inputs: int) -> None:
    """The product is that of 64-bit integers, rounded once to float32, then scaled; sums beyond 2^24 are too."""
    generator = torch.Generator().manual_seed(0)
    x_NI, weight_OI = EXTREMES[rows_of]((5, inputs), generator), EXTREMES[weights_of]((17, inputs), generator)
    scales_O = torch.rand(17, generator=generator)
    packed = USABLE[engine].pack(weight_OI.to(torch.int8))
    got = USABLE[engine].multiply(x_NI.to(torch.int8), packed, scales_O)
    assert torch.equal(got, (x_NI @ weight_OI.t()).float() * scales_O)


@pytest.mark.parametrize("matmul", ["high", "medium"])
def test_integers_as_floats_are_exact_in_any_precision_of_products(matmul: str) -> None:
    """Eight bits of an integer fit into TF32 and bfloat16, and the sums are float32."""
    generator = torch.Generator().manual_seed(0)
    x_NI, weight_OI = (torch.randint(-127, 128, (size, 1500), generator=generator) for size in (64, 96))
    x_NI[0], weight_OI[0] = 127, 127
    engine, scales_O = ENGINES["float32"], torch.ones(96)
    with Precision(matmul=matmul).matmuls():
        got = engine.multiply(x_NI.to(torch.int8), engine.pack(weight_OI.to(torch.int8)), scales_O)
    assert torch.equal(got, (x_NI @ weight_OI.t()).float())


@each_engine
def test_outlier_columns_are_exact(engine: str) -> None:
    """With all columns kept it is the float layer; with the outlier kept its error no longer grows with it."""
    linear, x = layer(), rows(9, 48)
    expected = run(linear, x)
    whole = run(Int8Linear.of(linear, torch.arange(48), USABLE[engine]), x)
    torch.testing.assert_close(whole, expected, rtol=1e-5, atol=1e-4)
    kept, spoilt = (
        float((run(Int8Linear.of(linear, columns, USABLE[engine]), x) - expected).norm() / expected.norm())
        for columns in (torch.tensor([0]), NONE)
    )
    assert kept < 0.01 < spoilt


@each_engine
def test_a_row_does_not_depend_on_its_neighbours(engine: str) -> None:
    """Each token has its own scale: in whatever batch it stands, and whatever outliers the others have."""
    module, x = Int8Linear.of(layer(), NONE, USABLE[engine]), rows(ROWS + 5, 48)
    loud = x.clone()
    loud[0] *= 1e4
    torch.testing.assert_close(run(module, loud)[1:], run(module, x)[1:], rtol=0, atol=0)
    torch.testing.assert_close(run(module, x[7:8]), run(module, x)[7:8], rtol=1e-6, atol=1e-5)


@each_engine
def test_rows_without_entries(engine: str) -> None:
    """Zeros give the bias, tiny entries nearly so, no rows give none; what is not finite stays so."""
    linear = layer()
    module = Int8Linear.of(linear, torch.tensor([3]), USABLE[engine])
    torch.testing.assert_close(run(module, torch.zeros(2, 48)), linear.bias.detach().expand(2, -1))
    torch.testing.assert_close(run(module, torch.full((2, 48), 1e-38)), linear.bias.detach().expand(2, -1))
    assert run(module, torch.zeros(0, 48)).shape == (0, 40)
    assert run(module, torch.zeros(2, 0, 48)).shape == (2, 0, 40)
    assert bool(run(module, torch.full((1, 48), torch.nan)).isnan().all())


@each_engine
def test_outlier_entries_beyond_int8_do_no_harm(engine: str) -> None:
    """An entry of an outlier column can be any float: only its exact product counts."""
    linear, x = layer(), torch.randn(4, 48, generator=torch.Generator().manual_seed(2))
    x[:, 5] = torch.tensor([1e30, -1e30, 3e9, 0.0])
    module = Int8Linear.of(linear, torch.tensor([5]), USABLE[engine])
    expected = run(module, x.index_fill(1, torch.tensor([5]), 0)) + x[:, 5:6] * linear.weight.detach()[:, 5]
    torch.testing.assert_close(run(module, x), expected, rtol=1e-5, atol=1e-4)


def test_inputs_are_left_alone() -> None:
    """This holds through a view too, whose strides do not matter."""
    x = rows(48, 9).t()
    before = x.clone()
    module = Int8Linear.of(layer(), torch.tensor([0]), usable_engines()[0])
    torch.testing.assert_close(run(module, x), run(module, x.contiguous()))
    assert torch.equal(x, before)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])  # noqa: S301
def test_copies_give_the_same(copied: object) -> None:
    """Packed weights are the engine's own and are made anew."""
    module, x = Int8Linear.of(layer(), torch.tensor([0]), usable_engines()[0]), rows(5, 48)
    assert torch.equal(run(module, x), run(copied(module), x))  # type: ignore[operator]


@each_engine
def test_turned_weights_and_no_bias(engine: str) -> None:
    """Conv1D keeps its weight inputs × outputs; a layer without bias adds nothing."""
    linear, x = layer(bias=False), rows(5, 48)
    turned = Conv1D(40, 48)
    with torch.no_grad():
        turned.weight.copy_(linear.weight.t())
        turned.bias.zero_()
    results = [run(Int8Linear.of(module, NONE, USABLE[engine]), x) for module in (turned, linear)]
    assert torch.equal(*results)


@each_engine
def test_engines_take_weights_with_any_strides(engine: str) -> None:
    """A view of a turned matrix is packed as what it means, not as it lies in memory."""
    weight = torch.randint(-127, 128, (48, 40), dtype=torch.int8, generator=torch.Generator().manual_seed(0)).t()
    x, scales = torch.eye(48, dtype=torch.int8)[:6], torch.ones(40)
    got = USABLE[engine].multiply(x, USABLE[engine].pack(weight), scales)
    assert torch.equal(got, weight.t()[:6].float())


def test_dequantised_weights_are_near() -> None:
    """Within half a step of the weights, exact in the outlier columns, zero where they are zero."""
    linear = layer()
    with torch.no_grad():
        linear.weight[:, 9] = 0
    weight = Int8Linear.of(linear, torch.tensor([0, 30]), usable_engines()[0]).dequantised()
    step = linear.weight.detach().abs().amax(dim=1, keepdim=True) / 127
    assert bool(((weight - linear.weight).abs() <= 0.501 * step).all())
    assert torch.equal(weight[:, [0, 9, 30]], linear.weight.detach()[:, [0, 9, 30]])


def test_an_inexact_engine_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that saturates its sums, as a CPU without the right instructions may, is refused in one line."""
    saturating = engines.Engine("int_mm", lambda w: w.t(), lambda x, w, s: (x.float() @ w.float()).clamp(max=2e5) * s)
    monkeypatch.setitem(ENGINES, "int_mm", saturating)
    engines.is_exact.cache_clear()
    try:
        assert "int_mm" not in [engine.name for engine in usable_engines()]
        with pytest.raises(
            UserError, match=r"^precision\.engine: expected an engine [^\n]*, but got int_mm; use auto$"
        ):
            usable_engines("int_mm")
    finally:
        monkeypatch.undo()
        engines.is_exact.cache_clear()
