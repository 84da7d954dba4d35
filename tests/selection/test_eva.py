"""EVA: ranks by explained variance, against NumPy and PEFT's own, and what they must not depend on."""

import numpy as np
import peft
import pytest
import torch
from entering import entering, scored
from models import padded, ragged, tiny
from peft.tuners.lora.eva import get_eva_state_dict

from layersel.backbone.backbone import Backbone
from layersel.backbone.layers import find_linear
from layersel.errors import UserError
from layersel.selection.measures.second_moments import SecondMoments
from layersel.selection.score import Probe, score_named


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama"])
@pytest.mark.parametrize(("rank", "most"), [(4, 2.0), (3, 1.0), (8, 100.0)])
def test_ranks_are_shared_out_by_explained_variance(kind: str, rank: int, most: float) -> None:
    """The largest shares of all modules, by singular values; with ρ = 1 all ranks are alike."""
    model = tiny(kind)
    found = scored(model, "eva", rank=rank, most=most)
    layers = entering(model)
    shares = []
    for name, inputs in (item for own in layers for item in own.items()):
        singular = np.linalg.svd(inputs - inputs.mean(axis=0), compute_uv=False)
        shares += [(share, name) for share in (singular**2 / (singular**2).sum())[: round(rank * most)]]
    taken = [name for _, name in sorted(shares, reverse=True)[: rank * len(found.modules)]]
    for own in layers:
        for twins in _twins(own):
            assert sum(found.modules[name] for name in twins) == sum(map(taken.count, twins))
    assert sum(found.modules.values()) == rank * len(found.modules)
    means = [np.mean([found.modules[name] for name in own]) for own in layers]
    assert found.values_L.tolist() == pytest.approx(means)
    assert most > 1 or set(found.modules.values()) == {rank}


def _twins(inputs: dict[str, np.ndarray]) -> list[list[str]]:
    """Modules that are given the same, whose shares are equal, so that either may have a last one."""
    groups: list[list[str]] = []
    for name, own_NI in inputs.items():
        alike = [own for own in groups if np.array_equal(inputs[own[0]], own_NI)]
        alike[0].append(name) if alike else groups.append([name])
    return groups


def test_ranks_are_those_of_peft() -> None:
    """The estimate of PEFT settles on the same ranks, for one batch without padding."""
    model, text = tiny("llama"), ragged([60])
    batch = padded(model, text)
    names = [name for own in find_linear(model) for name in own]
    backbone = Backbone(model, pooling="mean")
    found = score_named("eva", rank=4).scores(backbone, Probe([batch], torch.Generator())).modules
    config = peft.LoraConfig(r=4, target_modules=names, init_lora_weights="eva", eva_config=peft.EvaConfig(rho=2.0))
    state = get_eva_state_dict(
        model, [{name: value.clone() for name, value in batch.items()}], config, prepare_model_inputs_fn=None,
        prepare_layer_inputs_fn=None, show_progress_bar=False,
    )  # fmt: skip
    theirs = {name: float(len(own)) for name, own in state.items()}
    assert set(theirs) == set(names)
    assert len(set(theirs.values())) > 2
    for layer in (0, 1):
        of_layer = [name for name in names if f"layers.{layer}." in name]
        for ends in (("q_proj", "k_proj", "v_proj"), ("o_proj",), ("gate_proj", "up_proj"), ("down_proj",)):
            own = [name for name in of_layer if name.endswith(ends)]
            assert sum(found[name] for name in own) == sum(theirs[name] for name in own)


def test_shifted_and_scaled_inputs_are_no_news() -> None:
    """The covariance is the same, also of what is large beside its spread; of what never varies it is 0."""
    generator = torch.Generator().manual_seed(0)
    inputs_NI = torch.randn(50, 4, generator=generator) * torch.tensor([8.0, 4.0, 2.0, 1.0])
    expected = torch.cov(inputs_NI.double().T, correction=0)
    for shift, scale in ((0.0, 1.0), (1e4, 1.0), (0.0, 100.0)):
        seen = SecondMoments(centred=True)
        for part in (inputs_NI[:20], inputs_NI[20:]):
            seen.add("a", part * scale + shift)
        torch.testing.assert_close(seen.mean("a").double() / scale**2, expected, rtol=2e-3, atol=2e-3)
    constant = SecondMoments(centred=True)
    constant.add("a", torch.full((50, 4), 0.1))
    assert not constant.mean("a").any()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"rank": 0}, "selection.rank: expected at least 1, but got 0"),
        ({"most": 0.5}, "selection.most: expected a number of at least 1, but got 0.5"),
        ({"most": float("nan")}, "selection.most: expected a number of at least 1, but got nan"),
    ],
)
def test_bad_options(options: dict[str, float], line: str) -> None:
    """An option out of range is refused before the probe runs."""
    assert score_named("eva", **options).problems() == [line]


def test_inputs_that_are_not_finite_are_one_line() -> None:
    """The line names the module that something else than finite numbers enters."""
    model = tiny("bert")
    with torch.no_grad():
        model.encoder.layer[0].output.dense.weight.fill_(float("inf"))
    with pytest.raises(UserError, match=r"^selection=eva: what enters encoder\.layer\.1\.\S+ is not finite; use"):
        scored(model, "eva")
