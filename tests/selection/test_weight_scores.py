"""Spectrum and kappa: the figures of a matrix against numpy, and layers compared within module types."""

import math
from statistics import median

import numpy as np
import pytest
import torch
from models import tiny
from torch import Tensor

from layersel.backbone.backbone import Backbone
from layersel.errors import UserError
from layersel.selection.measures.spectra import inverse_condition, signal_to_noise
from layersel.selection.score import LayerScores, Probe, score_named

NOTHING = Probe([], torch.Generator())


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Independent standard normals."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def noisy(rows: int = 40, columns: int = 60, signal: float = 9.0) -> Tensor:
    """A square of noise, so that some of it is below the threshold, and two directions of signal."""
    return normal(rows, columns) + signal * normal(rows, 2, seed=1) @ normal(2, columns, seed=2)


def naive_snr(weight: np.ndarray) -> float:
    """Spectrum's steps one by one, in float64."""
    values = np.sqrt(np.linalg.eigvalsh(weight @ weight.T if len(weight) < len(weight.T) else weight.T @ weight))
    sigma = (np.quantile(values, 0.75) - np.quantile(values, 0.25)) / 1.349
    rows, columns = weight.shape
    beta = rows / columns if rows < columns else columns / rows
    epsilon = sigma * (1 + np.sqrt(beta))
    signal = sum(value for value in values if value > epsilon)
    noise = sum(value for value in values if value <= epsilon)
    return signal / noise / values.max()


@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize("shape", [(40, 60), (50, 50)])
def test_snr_is_spectrums(shape: tuple[int, int], turn: bool) -> None:
    """Whatever side is the longer; in bfloat16 it is that of the same numbers."""
    weight = noisy(*shape).T if turn else noisy(*shape)
    assert signal_to_noise(weight) == pytest.approx(naive_snr(weight.double().numpy()), rel=1e-4)
    half = weight.bfloat16()
    assert signal_to_noise(half) == signal_to_noise(half.float())


def test_snr_does_not_see_rotations_and_falls_with_the_scale() -> None:
    """Σ/Σ has no scale, 1/max S has."""
    weight = noisy()
    rotated = torch.linalg.qr(normal(40, 40)).Q @ weight
    assert signal_to_noise(rotated) == pytest.approx(signal_to_noise(weight), rel=1e-4)
    assert signal_to_noise(4 * weight) == pytest.approx(signal_to_noise(weight) / 4, rel=1e-4)


def test_matrices_without_noise_without_anything_and_without_numbers() -> None:
    """Infinite; not a number; not a number, instead of an error of LAPACK."""
    assert signal_to_noise(torch.eye(5)) == math.inf
    for figure in (signal_to_noise, inverse_condition):
        assert math.isnan(figure(torch.zeros(5, 5)))
        assert math.isnan(figure(torch.full((5, 4), torch.inf)))


@pytest.mark.parametrize("shape", [(30, 50), (50, 30), (20, 20), (7, 1)])
def test_inverse_condition_is_numpys(shape: tuple[int, int]) -> None:
    """Scale and rotation do not matter; a singular matrix has exactly 0."""
    weight = normal(*shape)
    expected = 1 / np.linalg.cond(weight.double().numpy())
    assert inverse_condition(weight) == pytest.approx(expected, rel=1e-3)
    assert inverse_condition(-250 * weight) == pytest.approx(expected, rel=1e-3)
    assert inverse_condition(normal(20, 3) @ normal(3, 20)) == 0


def test_a_large_condition_number_is_no_singular_matrix() -> None:
    """Wide matrices of pretrained models have 10⁴ to 10⁵; what counts as 0 must not grow with the width."""
    left, right = (torch.linalg.qr(normal(400, 400)).Q for _ in range(2))
    weight = left @ torch.diag(torch.logspace(0, -5, 400)) @ right
    assert inverse_condition(weight) == pytest.approx(1e-5, rel=0.05)


def found(name: str, backbone: Backbone) -> LayerScores:
    """The scores of a model, no text being there."""
    return score_named(name).scores(backbone, NOTHING)


def naive(backbone: Backbone, figure: object) -> dict[str, float]:
    """v/(v + median of the type), module by module, for a BERT."""
    values = {
        name: figure(module.weight)
        for name, module in backbone.model.named_modules()
        if isinstance(module, torch.nn.Linear) and ".layer." in name
    }
    types = {name: name.split(".", 3)[3] for name in values}
    middle = {kind: median(values[name] for name in values if types[name] == kind) for kind in set(types.values())}
    return {name: value / (value + middle[types[name]]) for name, value in values.items()}


@pytest.mark.parametrize("name", ["spectrum", "kappa"])
def test_a_layer_is_the_mean_of_its_modules_relative_to_their_types(name: str) -> None:
    """Six types of three modules."""
    backbone = Backbone(tiny("bert"))
    with torch.no_grad():  # larger, so that all spectra have noise
        for module in backbone.model.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight.add_(3 * normal(len(module.weight), 1) @ normal(1, module.in_features))
    expected = naive(backbone, {"spectrum": signal_to_noise, "kappa": inverse_condition}[name])
    scores = found(name, backbone)
    assert scores.modules == pytest.approx(expected)
    assert scores.values_L.tolist() == pytest.approx(
        [np.mean([own for key, own in expected.items() if f".layer.{layer}." in key]) for layer in range(3)]
    )
    assert scores.resampled_SL is None


def test_the_scale_of_a_type_does_not_matter() -> None:
    """All down projections at a tenth: each has ten times the figure, and the place that it had."""
    backbone = Backbone(tiny("llama"))
    before = found("spectrum", backbone)
    with torch.no_grad():
        for layer in backbone.layers:
            layer.mlp.down_proj.weight.mul_(0.1)
    after = found("spectrum", backbone)
    torch.testing.assert_close(after.values_L, before.values_L)
    assert after.modules == pytest.approx(before.modules, rel=1e-4)


def test_infinite_figures_and_equal_ones() -> None:
    """1 where nothing is noise, 0 against a median that is infinite; .5 for equals, infinite ones too."""
    backbone = Backbone(tiny("llama"))
    eye = torch.eye(32)
    with torch.no_grad():
        for layer in backbone.layers:
            layer.self_attn.o_proj.weight.copy_(eye)
            layer.self_attn.q_proj.weight.copy_(eye)
        backbone.layers[1].self_attn.q_proj.weight.copy_(noisy(32, 32))
    modules = found("spectrum", backbone).modules
    assert [modules[f"layers.{layer}.self_attn.o_proj"] for layer in range(3)] == [0.5] * 3
    assert [modules[f"layers.{layer}.self_attn.q_proj"] for layer in range(3)] == [0.5, 0.0, 0.5]


@pytest.mark.parametrize("name", ["spectrum", "kappa"])
def test_a_weight_of_zeros_is_one_line(name: str) -> None:
    """It names the module."""
    backbone = Backbone(tiny("bert"))
    with torch.no_grad():
        backbone.layers[1].output.dense.weight.zero_()
    with pytest.raises(UserError, match=rf"^selection={name}: the weight of encoder.layer.1.output.dense gives no"):
        found(name, backbone)


@pytest.mark.parametrize("name", ["spectrum", "kappa", "outliers", "plop"])
def test_packed_weights_are_refused(name: str) -> None:
    """Their bytes are no weights: a score of them would choose layers by chance."""
    backbone = Backbone(tiny("bert"), pooling="mean")
    module = backbone.layers[1].attention.self.query
    module.weight = torch.nn.Parameter(torch.zeros(16, 1, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(UserError, match=f"^selection={name}: expected floating-point weights, .*query are packed"):
        score_named(name).scores(backbone, NOTHING)
