"""Zeros in the linear layers of the blocks, and nowhere else; kept through what comes after."""

import copy
import re
from dataclasses import fields

import pytest
import torch
from models import N_LAYERS, hooks_and_wrappers, padded, ragged, tiny
from omegaconf import OmegaConf
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from layersel.backbone.backbone import Backbone
from layersel.compression.pruning.magnitude import Magnitude
from layersel.compression.pruning.none import NoPruning
from layersel.compression.pruning.pruned import Pruned, weight_sparsity
from layersel.compression.pruning.pruning import Pruning
from layersel.compression.pruning.random import Random
from layersel.compression.pruning.wanda import Wanda
from layersel.config import CONF, build_group
from layersel.errors import UserError

TEXTS = ragged((7, 12, 3, 30, 9, 16))
METHODS = [Wanda, Magnitude, Random]
methods = pytest.mark.parametrize("method", METHODS)


def generator(seed: int = 0) -> torch.Generator:
    """Returns a generator for the draws of one pruning."""
    return torch.Generator().manual_seed(seed)


def weights_by_hand(model: PreTrainedModel) -> dict[str, Tensor]:
    """Returns the weights (outputs × inputs) of all linear modules inside the blocks, found by their names alone."""
    found = {}
    for name, module in model.named_modules():
        inside = re.search(r"(^|\.)(layer|layers|h)\.\d+\.", name)
        if inside and isinstance(module, nn.Linear | Conv1D) and ".lora_" not in name:
            weight = module.weight.detach()
            found[name.replace(".base_layer", "")] = weight.T if isinstance(module, Conv1D) else weight
    return found


def with_lora(model: PreTrainedModel, projection: str = "query") -> PeftModel:
    """Adds LoRA with a strong effect on one projection of every layer."""
    backbone = Backbone(model, None, "mean")
    names = [named[projection] for named in backbone.projections]
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=names))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator(len(name))))
    return adapted.eval()


@methods
@pytest.mark.parametrize("sparsity", [0.3, 1.0])
def test_the_zeros_are_those_of_the_masks(fresh_model: PreTrainedModel, method: type, sparsity: float) -> None:
    """In every architecture all linear layers inside the blocks lose exactly their share, and nothing else moves."""
    before = {name: tensor.clone() for name, tensor in fresh_model.state_dict().items()}
    whole = {name: weight.clone() for name, weight in weights_by_hand(fresh_model).items()}
    pruned = method(sparsity=sparsity).prune(Backbone(fresh_model, None, "mean"), TEXTS, generator())
    after = weights_by_hand(fresh_model)
    assert list(pruned.masks) == list(after)
    for name, keep_OI in pruned.masks.items():
        assert keep_OI.dtype == torch.bool
        assert torch.equal(after[name], whole[name] * keep_OI)
        outputs, inputs = keep_OI.shape
        if method is Magnitude:
            assert int((~keep_OI).sum()) == int(sparsity * outputs * inputs)
        else:
            assert (~keep_OI).sum(dim=1).tolist() == [int(sparsity * inputs)] * outputs
    for name, tensor in fresh_model.state_dict().items():
        if name.removesuffix(".weight") not in pruned.masks:
            assert torch.equal(tensor, before[name]), name


@methods
def test_patterns_hold_in_every_row(fresh_model: PreTrainedModel, method: type) -> None:
    """2:4 along the inputs of each output, also where Conv1D stores them the other way."""
    method(sparsity=None, pattern="2:4").prune(Backbone(fresh_model, None, "mean"), TEXTS, generator())
    for weight_OI in weights_by_hand(fresh_model).values():
        assert set((weight_OI == 0).reshape(-1, 4).sum(dim=1).tolist()) == {2}


@methods
@pytest.mark.parametrize("options", [{"sparsity": 0.3}, {"pattern": "2:4"}], ids=str)
def test_constant_weights_lose_no_more_than_their_share(method: type, options: dict[str, object]) -> None:
    """A threshold would take all or none of equal scores."""
    model = tiny("bert")
    with torch.no_grad():
        for weight_OI in weights_by_hand(model).values():
            weight_OI.fill_(0.5)
    method(**options).prune(Backbone(model, None, "mean"), TEXTS, generator())
    for weight_OI in weights_by_hand(model).values():
        zeros = int((weight_OI == 0).sum())
        inputs = weight_OI.shape[1]
        per_row = inputs // 2 if "pattern" in options else int(0.3 * inputs)
        whole = int(0.3 * weight_OI.numel())
        assert zeros == (whole if method is Magnitude and "pattern" not in options else per_row * weight_OI.shape[0])


def test_magnitude_takes_the_smallest_of_each_matrix() -> None:
    """Naive reference: sort all |W| of the matrix. Outputs lose different shares."""
    model = tiny("gpt2")
    whole = {name: weight.clone() for name, weight in weights_by_hand(model).items()}
    Magnitude(sparsity=0.3).prune(Backbone(model, None, "mean"), TEXTS, generator())
    for name, weight_OI in weights_by_hand(model).items():
        flat = whole[name].abs().flatten().tolist()
        gone = set(sorted(range(len(flat)), key=lambda place: flat[place])[: int(0.3 * len(flat))])
        assert set((weight_OI.flatten() == 0).nonzero().flatten().tolist()) == gone
        assert len(set((weight_OI == 0).sum(dim=1).tolist())) > 1


def test_random_is_uniform_and_ignores_the_weights() -> None:
    """The draws are the same whatever the weights; over many of them each weight is pruned equally often."""
    masks = [
        Random(sparsity=0.5).prune(Backbone(tiny("bert", seed), None, "mean"), [], generator()).masks for seed in (0, 1)
    ]
    assert all(torch.equal(masks[0][name], masks[1][name]) for name in masks[0])
    kept = torch.cat([mask.flatten().float() for mask in masks[0].values()])
    assert kept.mean() == 0.5
    columns = torch.stack([mask.float().mean(dim=0) for mask in masks[0].values() if mask.shape == (32, 32)])
    assert columns.mean(dim=0).std() < 0.1


@methods
def test_the_generator_decides_alone(method: type, global_rng_untouched: None) -> None:
    """Same generator, same masks; another one draws other records or weights; no global random number is drawn."""
    options = {"calibration": 2} if method is Wanda else {}

    def masks(seed: int) -> list[Tensor]:
        backbone = Backbone(tiny("bert"), None, "mean")
        return list(method(**options).prune(backbone, TEXTS, generator(seed)).masks.values())

    first, again, other = masks(0), masks(0), masks(1)
    assert all(map(torch.equal, first, again))
    assert all(map(torch.equal, first, other)) is (method is Magnitude)


@methods
def test_modes_hooks_and_gradients_stay_as_they_were(method: type, global_rng_untouched: None) -> None:
    """Pruning is no training, runs without dropout, and leaves nothing in the model but zeros."""
    model = tiny("deberta").train()
    model.encoder.layer[1].eval()
    before = hooks_and_wrappers(model), [module.training for module in model.modules()]
    method().prune(Backbone(model, None, "mean"), TEXTS, generator())
    assert (hooks_and_wrappers(model), [module.training for module in model.modules()]) == before
    assert torch.is_grad_enabled()
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


@methods
@pytest.mark.parametrize("name", ["bert", "gpt2", "llama"])
def test_under_adapters_the_pretrained_weights_are_pruned(name: str, method: type) -> None:
    """Masks carry the plain names, LoRA's A and B stay as they are, and the sparsity is that of the base."""
    model = tiny(name)
    whole = {key: weight.clone() for key, weight in weights_by_hand(model).items()}
    backbone = Backbone(model, None, "mean")
    adapted = with_lora(model)
    lora = {key: value.clone() for key, value in adapted.state_dict().items() if "lora_" in key}
    pruned = method(sparsity=0.5).prune(backbone, TEXTS, generator())
    assert set(pruned.masks) == set(whole)
    for key, weight_OI in weights_by_hand(model).items():
        assert torch.equal(weight_OI, whole[key] * pruned.masks[key])
    assert all(torch.equal(value, adapted.state_dict()[key]) for key, value in lora.items())
    assert pruned.sparsity(backbone) == 0.5


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_reapplying_restores_what_a_merge_filled(name: str) -> None:
    """Prune, train an adapter, merge: the adapted projection is dense again until the masks are applied."""
    model = tiny(name)
    backbone = Backbone(model, None, "mean")
    pruned = Magnitude(sparsity=0.5).prune(backbone, TEXTS, generator())
    adapted = with_lora(model)
    assert pruned.sparsity(backbone) == 0.5
    adapted.merge_and_unload()
    merged = {key: weight.clone() for key, weight in weights_by_hand(model).items()}
    assert pruned.sparsity(backbone) < 0.45
    pruned.reapply(backbone)
    assert pruned.sparsity(backbone) == 0.5 == weight_sparsity(backbone)
    for key, weight_OI in weights_by_hand(model).items():
        assert torch.equal(weight_OI, merged[key] * pruned.masks[key])


def test_reapplying_reaches_the_base_below_an_adapter() -> None:
    """This holds whatever filled it."""
    model = tiny("bert")
    backbone = Backbone(model, None, "mean")
    pruned = Magnitude(sparsity=0.5).prune(backbone, TEXTS, generator())
    adapted = with_lora(model)
    with torch.no_grad():
        for weight_OI in weights_by_hand(model).values():
            weight_OI.add_(1.0)
    assert pruned.sparsity(backbone) == 0
    pruned.reapply(backbone)
    assert pruned.sparsity(backbone) == 0.5
    assert isinstance(adapted, PeftModel)


@methods
def test_only_the_projections_named(method: type) -> None:
    """Other linear layers keep every weight; the sparsity is still that of all of them."""
    model = tiny("bert")
    backbone = Backbone(model, None, "mean")
    pruned = method(sparsity=0.5, projections=["query", "down"]).prune(backbone, TEXTS, generator())
    chosen = {named[role] for named in backbone.projections for role in ("query", "down")}
    assert set(pruned.masks) == chosen
    shares = {name: float((weight == 0).float().mean()) for name, weight in weights_by_hand(model).items()}
    assert shares == {name: 0.5 if name in chosen else 0.0 for name in shares}
    assert pruned.report()["sparsity reached"] == pytest.approx(0.5 * (32 * 32 + 32 * 48) / (4 * 32 * 32 + 2 * 32 * 48))


def test_a_fused_projection_needs_all_its_names() -> None:
    """GPT-2 computes query, key and value in one module."""
    backbone = Backbone(tiny("gpt2"), None, "mean")
    with pytest.raises(UserError, match=r"query, key, value in one module.*name all of them or none$"):
        Magnitude(projections=["query"]).prune(backbone, TEXTS, generator())
    pruned = Magnitude(projections=["query", "key", "value"]).prune(backbone, TEXTS, generator())
    assert len(pruned.masks) == N_LAYERS


def test_the_report_says_what_zeros_are_worth() -> None:
    """It has the share wanted and the share reached, and says that zeros save no time."""
    report = Magnitude(pattern="2:4").prune(Backbone(tiny("bert"), None, "mean"), TEXTS, generator()).report()
    assert (report["sparsity wanted"], report["sparsity reached"]) == (0.5, 0.5)
    assert report["pruning"] == "50.0% zeros in the blocks, 2:4; no kernel used here skips zeros, so they save no time"


def test_no_pruning_does_nothing() -> None:
    """All the same calls work."""
    model = tiny("bert")
    before = copy.deepcopy(model.state_dict())
    backbone = Backbone(model, None, "mean")
    pruned = NoPruning().prune(backbone, TEXTS, generator())
    pruned.reapply(backbone)
    assert (pruned.masks, pruned.dropped, pruned.sparsity(backbone)) == ({}, [], 0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert pruned.report() == Pruned().report() == {"pruning": "no pruning"}


@methods
def test_a_pattern_that_does_not_divide_changes_nothing(method: type) -> None:
    """The message is one line that names the module, before the first weight is zero."""
    model = tiny("bert")
    backbone = Backbone(model, None, "mean")
    with pytest.raises(UserError, match=r"divides the 32 inputs of encoder\.layer\.0\.\S+, but got 1:3; use another"):
        method(sparsity=None, pattern="1:3").prune(backbone, TEXTS, generator())
    assert weight_sparsity(backbone) == 0


def test_quantised_weights_are_refused() -> None:
    """Nothing else than floating-point numbers can be zeroed one by one."""
    model = tiny("bert")
    module = model.encoder.layer[0].output.dense
    module.weight = nn.Parameter(module.weight.detach().to(torch.uint8), requires_grad=False)
    with pytest.raises(UserError, match=r"floating-point weights in encoder\.layer\.0\.output\.dense; prune before"):
        Magnitude().prune(Backbone(model, None, "mean"), TEXTS, generator())


class _Integers(nn.Module):
    """A linear module whose weight is integers."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.scale = float(linear.weight.detach().abs().max()) / 127
        self.integers_OI = (linear.weight.detach() / self.scale).round().to(torch.int8)

    def dequantised(self) -> Tensor:
        return self.integers_OI * self.scale


def test_integer_modules_keep_their_zeros_and_are_counted() -> None:
    """After quantising, the sparsity is that of the integers, small weights that became zero included."""
    model = tiny("bert")
    backbone = Backbone(model, None, "mean")
    pruned = Magnitude(sparsity=0.5).prune(backbone, TEXTS, generator())
    for layer in model.encoder.layer:
        layer.output.dense = _Integers(layer.output.dense)
    pruned.reapply(backbone)
    zeros = sum(int((layer.output.dense.integers_OI == 0).sum()) for layer in model.encoder.layer)
    others = N_LAYERS * (4 * 32 * 32 + 32 * 48)
    assert pruned.sparsity(backbone) == (zeros + others / 2) / (others + N_LAYERS * 32 * 48) >= 0.5
    with pytest.raises(UserError, match=r"floating-point weights in encoder\.layer\.0\.output\.dense; prune before"):
        Magnitude().prune(backbone, TEXTS, generator())


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"sparsity": 1.2}, "pruning.sparsity: expected 0 to 1, but got 1.2"),
        ({"sparsity": -0.1}, "pruning.sparsity: expected 0 to 1, but got -0.1"),
        ({"sparsity": float("nan")}, "pruning.sparsity: expected 0 to 1, but got nan"),
        ({"sparsity": None}, "pruning.sparsity: expected 0 to 1 or a pruning.pattern, but got neither"),
        ({"pattern": "4:2"}, "pruning.pattern: expected n:m with 0 < n < m, such as 2:4, but got '4:2'"),
        ({"pattern": "1:4"}, "pruning.sparsity: expected null or 0.25 with pruning.pattern=1:4, but got 0.5"),
        (
            {"projections": ["kwery"]},
            "pruning.projections: expected one of query, key, value, output, gate, up, down, but got 'kwery'",
        ),
        (
            {"projections": []},
            "pruning.projections: expected null or some of query, key, value, output, gate, up, down, but got none",
        ),
    ],
    ids=str,
)
@methods
def test_wrong_options_are_one_line(method: type, options: dict[str, object], line: str) -> None:
    """Each says what is allowed."""
    assert method(**options).problems() == [line]


@pytest.mark.parametrize(
    "options", [{}, {"sparsity": 0.0}, {"sparsity": 1.0}, {"pattern": "2:4"}, {"pattern": "1:4", "sparsity": 0.25}]
)
@methods
def test_right_options_have_no_problem(method: type, options: dict[str, object]) -> None:
    """The ends of the range, and a pattern with the share that it has."""
    assert method(**options).problems() == []
    assert method(**options | {"sparsity": None, "pattern": "1:3"}).problems() == []


def test_calibration_needs_a_record() -> None:
    """It is refused as an option, and when texts are drawn."""
    assert Wanda(calibration=0).problems() == ["pruning.calibration: expected at least 1, but got 0"]
    with pytest.raises(UserError, match=r"^pruning: expected texts to look at, but got none$"):
        Wanda().prune(Backbone(tiny("bert"), None, "mean"), [], generator())


@pytest.mark.parametrize("path", sorted((CONF / "pruning").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_file_of_the_group_has_the_defaults_of_its_class(path: object) -> None:
    """It has the name of its module, too."""
    content = OmegaConf.to_container(OmegaConf.load(path))
    built = build_group("pruning", content)
    assert isinstance(built, Pruning)
    assert built == type(built)()
    assert built.name == path.stem
    assert {name for name in content if name != "_target_"} == {field.name for field in fields(built)}
    assert built.prunes is (path.stem != "none")
    assert built.structured is (path.stem == "layers")


def test_a_pruned_model_still_encodes(fresh_model: PreTrainedModel) -> None:
    """Half of the weights gone, the vectors are finite and others."""
    backbone = Backbone(fresh_model, None, "mean")
    batch = padded(fresh_model, TEXTS)
    with torch.no_grad():
        before = backbone(batch)
        Wanda().prune(backbone, TEXTS, generator())
        after = backbone(batch)
    assert after.isfinite().all()
    assert not torch.allclose(after, before, atol=1e-3)
