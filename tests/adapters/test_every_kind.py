"""What every kind of adapter must do, on a BERT, a GPT-2 (Conv1D, fused) and a Llama (grouped heads)."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from models import N_LAYERS, padded, ragged, tiny
from omegaconf import OmegaConf
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from placing import (
    ADAPTING,
    CHOSEN,
    CONF,
    KINDS,
    ON_LINEAR_ONLY,
    InPlace,
    adapter_of,
    in_place,
    kind_of,
    selection_of,
    vectors_of,
)
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from layersel.adapters.full_placed import LAYERS
from layersel.adapters.loading import load_adapter
from layersel.adapters.placed import Unadapted
from layersel.adapters.placement import adapted_layers, count_parameters
from layersel.backbone.backbone import Backbone
from layersel.errors import UserError

MODELS = ["bert", "gpt2", "llama"]
CASES = [(name, model) for name in ADAPTING for model in MODELS if model != "gpt2" or name not in ON_LINEAR_ONLY]
ON_PRETRAINED = [(name, model) for name, model in CASES if name != "qlora"]
WITH_BIASES = [("ia3", "bert"), ("ia3", "gpt2")]  # which (IA)³ scales too
ON_MATRICES = [case for case in CASES if case[0] != "full" and case not in WITH_BIASES]
MOVED = ("pissa", "olora")

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


def changing(name: str) -> list[int]:
    """The layers that an adapter of that kind changes when 0 and 2 are chosen."""
    return list(range(N_LAYERS)) if name == "lora_drop" else CHOSEN


def base_vectors(adapted: InPlace, name: str) -> Tensor:
    """Those of the model without the adapter: pretrained, or for qlora pretrained in 4 bits."""
    return adapted.vectors if name == "qlora" else adapted.pretrained


def weights(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the weight matrices of linear modules by name, outputs first."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | Conv1D):
            weight = module.weight.detach().clone()
            found[name] = weight.T if isinstance(module, Conv1D) else weight
    return found


def steps(adapted: InPlace, n: int = 3) -> None:
    """Training as the task does it: the adapter's own hooks around each step of the optimizer."""
    backbone, placed = adapted.backbone, adapted.placed
    optimizer = torch.optim.Adam([value for value in backbone.parameters() if value.requires_grad], lr=0.05)
    placed.begin(n)
    for step in range(n):
        optimizer.zero_grad()
        loss = backbone(padded(backbone.model, ragged())).square().mean()
        penalty = placed.penalty()
        (loss if penalty is None else loss + penalty).backward()
        optimizer.step()
        placed.after_step(step)


@pytest.mark.parametrize("name", KINDS)
def test_the_file_the_module_and_the_name_are_one(name: str) -> None:
    """`adapter=NAME` is conf/adapter/NAME.yaml is kinds/NAME.py; its values are the dataclass's own and fine."""
    content = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    kind = kind_of(name)
    assert content.pop("_target_") == f"{kind.__module__}.{kind.__name__}"
    assert content == {field.name: getattr(kind(), field.name) for field in fields(kind)}
    assert kind().name == name
    assert kind().problems() == []


@pytest.mark.parametrize(("name", "model"), CASES)
def test_it_stands_in_the_chosen_layers_and_changes_nothing_yet(name: str, model: str) -> None:
    """Training starts from the pretrained model, for qlora from that in 4 bits."""
    adapted = in_place(name, model)
    assert adapted.placed.layers == adapted_layers(adapted.backbone) == changing(name)
    if name == "qlora":
        with adapted.placed.disabled():
            expected = adapted.vectors
    else:
        expected = adapted.pretrained
    torch.testing.assert_close(adapted.vectors, expected, rtol=0, atol=1e-5 if name in MOVED else 2e-6)


@pytest.mark.parametrize(("name", "model"), CASES)
def test_training_changes_the_adapter_and_nothing_else(name: str, model: str) -> None:
    """What is not trainable stays bit by bit, and all that is trainable has gradients; then the vectors differ."""
    adapted = in_place(name, model)
    before = {key: value.detach().clone() for key, value in adapted.backbone.named_parameters()}
    start = adapted.vectors
    steps(adapted)
    for key, value in adapted.backbone.named_parameters():
        assert value.requires_grad == (value.grad is not None), key
        assert value.requires_grad or torch.equal(value, before[key]), key
        if name != "full":
            assert not value.requires_grad or re.search(r"\.(lora|vera|ia3|oft|shira|fourierft)_", key)
    assert any(not torch.equal(value, before[key]) for key, value in adapted.backbone.named_parameters())
    assert (adapted.vectors - start).abs().max() > 1e-4


@pytest.mark.parametrize(("name", "model"), CASES)
def test_disabled_is_the_pretrained_model(name: str, model: str) -> None:
    """Exactly; what was trainable is so again afterwards, and so are the adapted vectors."""
    adapted = in_place(name, model)
    with adapted.placed.disabled():
        base = adapted.vectors  # of qlora: the 4-bit model
    adapted.shaken()
    trainable = [parameter.requires_grad for parameter in adapted.backbone.parameters()]
    moved = adapted.vectors
    with adapted.placed.disabled():
        assert torch.equal(adapted.vectors, base)
    if name != "qlora":
        assert torch.equal(base, adapted.pretrained)
    assert torch.equal(adapted.vectors, moved)
    assert not torch.allclose(moved, base, atol=1e-3)
    assert [parameter.requires_grad for parameter in adapted.backbone.parameters()] == trainable


@pytest.mark.parametrize(("name", "model"), ON_PRETRAINED)
def test_merging_leaves_a_plain_model_with_the_same_vectors(name: str, model: str) -> None:
    """Its modules are those of a fresh model, in the same places; nothing trains."""
    adapted = in_place(name, model).shaken()
    expected = adapted.vectors
    adapted.placed.merge()
    torch.testing.assert_close(adapted.vectors, expected, rtol=1e-4, atol=2e-5)
    fresh = tiny(model)
    types = {key: type(part) for key, part in fresh.named_modules()}
    assert {key: type(part) for key, part in adapted.backbone.model.named_modules()} == types
    assert list(adapted.backbone.model.state_dict()) == list(fresh.state_dict())
    assert set(vars(adapted.backbone.model)) == set(vars(fresh))
    assert adapted_layers(adapted.backbone) == []
    assert count_parameters(adapted.backbone)[0] == 0
    assert adapted.backbone.projections == Backbone(fresh, None, "mean").projections


@pytest.mark.parametrize(("name", "model"), [case for case in ON_MATRICES if case[0] != "qlora"])
def test_changes_are_what_merging_adds(name: str, model: str) -> None:
    """Merged minus pretrained weight, outputs first, with factors that multiply to it; the model is left alone."""
    adapted = in_place(name, model).shaken()
    before = weights(tiny(model))
    state = {key: value.clone() for key, value in adapted.backbone.state_dict().items()}
    changes = adapted.placed.changes()
    assert all(torch.equal(value, state[key]) for key, value in adapted.backbone.state_dict().items())
    adapted.placed.merge()
    after = weights(adapted.backbone.model)
    for key, weight in before.items():
        if key not in changes:
            assert torch.equal(after[key], weight), key
            continue
        change = changes[key]
        assert change.dense.dtype == torch.float32
        torch.testing.assert_close(change.dense, after[key] - weight, rtol=1e-4, atol=1e-5)
        assert change.dense.abs().max() > 1e-3
        if change.factors is not None:
            torch.testing.assert_close(change.factors[0] @ change.factors[1], change.dense, rtol=0, atol=0)
    modules = adapted.backbone.projections
    assert set(changes) == {key for layer in changing(name) for key in modules[layer].values()}


LOW_RANK = {"lora", "rslora", "pissa", "olora", "adalora", "tied_lora", "lora_drop", "qlora"}


@pytest.mark.parametrize("name", [name for name in ADAPTING if name not in ("full", "ia3")])
def test_low_rank_kinds_have_factors(name: str) -> None:
    """Of the rank that they are saved with."""
    ranks = {
        None if change.factors is None else change.factors[0].shape[1]
        for change in in_place(name).shaken().placed.changes().values()
    }
    assert ranks == ({8 if name in MOVED else 4} if name in LOW_RANK else {None})


@pytest.mark.parametrize(("name", "model"), CASES)
def test_saved_and_loaded_it_gives_the_same_vectors(name: str, model: str, tmp_path: Path) -> None:
    """On a fresh model, in the same layers, frozen; loaded, it can be disabled. PEFT alone reads it too."""
    adapted = in_place(name, model).shaken()
    adapted.placed.save(tmp_path / "adapter")
    backbone = Backbone(tiny(model), None, "mean")
    loaded = load_adapter(backbone, tmp_path / "adapter")
    tolerance = 1e-5 if name in MOVED else 1e-6
    torch.testing.assert_close(vectors_of(backbone), adapted.vectors, rtol=1e-6, atol=tolerance)
    if name not in {"full", "qlora"}:
        plain = tiny(model)
        PeftModel.from_pretrained(plain, str(tmp_path / "adapter"))
        plain_vectors = vectors_of(Backbone(plain, None, "mean"))
        torch.testing.assert_close(plain_vectors, adapted.vectors, rtol=1e-6, atol=tolerance)
    assert loaded.layers == adapted.placed.layers
    assert count_parameters(backbone)[0] == 0
    with loaded.disabled(), adapted.placed.disabled():
        assert torch.equal(vectors_of(backbone), adapted.vectors)
    assert count_parameters(backbone)[0] == 0


@pytest.mark.parametrize("name", ADAPTING)
def test_a_loaded_adapter_can_be_saved_again_and_merged(name: str, tmp_path: Path) -> None:
    """As the one that was saved first; qlora refuses to be merged."""
    adapted = in_place(name).shaken()
    adapted.placed.save(tmp_path / "first")
    load_adapter(Backbone(tiny("bert"), None, "mean"), tmp_path / "first").save(tmp_path / "adapter")
    backbone = Backbone(tiny("bert"), None, "mean")
    loaded = load_adapter(backbone, tmp_path / "adapter")
    if name == "qlora":
        with pytest.raises(UserError, match="cannot be merged"):
            loaded.merge()
        return
    loaded.merge()
    torch.testing.assert_close(vectors_of(backbone), adapted.vectors, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("name", ADAPTING)
def test_placing_follows_the_generator_only(name: str, global_rng_untouched: None) -> None:
    """Same seed, same adapter, whatever the global state; the seed of what PEFT draws on its own is set, too."""
    model = tiny("bert")
    first = in_place(name).shaken().vectors
    with torch.random.fork_rng():
        torch.rand(3)
        assert torch.equal(in_place(name).shaken().vectors, first)
    other = Backbone(model, None, "mean")
    adapter = adapter_of(name, model)
    placed = adapter.place(other, selection_of(model), torch.Generator().manual_seed(7))
    moved = InPlace(other, placed, first).shaken().vectors
    drawn = name not in {"ia3", "oft", "full", *MOVED}
    assert torch.equal(moved, first) is not drawn


@pytest.mark.parametrize("name", ["lora", "dora", "adalora", "vera", "tied_lora", "lora_drop", "qlora"])
def test_train_mode_turns_on_the_adapters_own_dropout(name: str) -> None:
    """And no other: with the rest of the model in evaluation mode two passes differ, without it they do not."""
    adapted = in_place(name, dropout=0.5).shaken()
    batch = padded(adapted.backbone.model, ragged())
    adapted.backbone.eval()
    with torch.no_grad():
        assert torch.equal(adapted.backbone(batch), adapted.backbone(batch))
        adapted.placed.train_mode()
        assert not torch.equal(adapted.backbone(batch), adapted.backbone(batch))
        with adapted.placed.disabled():
            assert torch.equal(adapted.backbone(batch), adapted.backbone(batch))
    own = {
        id(part)
        for tuner in adapted.backbone.modules()
        if isinstance(tuner, BaseTunerLayer)
        for part in tuner.modules()
    }
    assert not any(part.training for part in adapted.backbone.modules() if id(part) not in own)


@pytest.mark.parametrize("name", ON_LINEAR_ONLY)
def test_kinds_without_conv1d_say_so(name: str) -> None:
    """One line, before the model is touched."""
    with pytest.raises(UserError, match=rf"expected linear layers for {name}, but h.0.*is a Conv1D; use adapter=lora"):
        in_place(name, "gpt2")


RANKED = ["lora", "dora", "rslora", "pissa", "olora", "adalora", "tied_lora", "lora_drop", "qlora"]


@pytest.mark.parametrize("name", RANKED)
def test_a_rank_above_the_width_is_refused(name: str) -> None:
    """In one line, before the model is touched; the width itself will do."""
    in_place(name, "llama", rank=16)
    with pytest.raises(
        UserError, match=r"adapter.rank: expected at most 16, the smaller width of .*k_proj, but got 17"
    ):
        in_place(name, "llama", rank=17)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("oft", {"block_size": 5}, "adapter.block_size: expected a divisor of 32, the inputs of encoder.*, but got 5"),
        ("shira", {"rank": 17}, "adapter.rank: expected at most 16, with which every entry of .*query is trained"),
        ("fourierft", {"n_frequency": 1025}, "adapter.n_frequency: expected at most 1024, the size of .*query"),
    ],
)
def test_sizes_that_the_model_cannot_have_are_refused(name: str, options: dict[str, int], expected: str) -> None:
    """Where PEFT would choose another one or fail in the middle."""
    with pytest.raises(UserError, match=expected):
        in_place(name, **options, projections=["query"])


@pytest.mark.parametrize("name", [name for name in ADAPTING if name != "full"])
def test_a_missing_or_half_a_fused_projection_is_refused(name: str) -> None:
    """As the selection says it."""
    with pytest.raises(UserError, match="name all of them or none"):
        in_place(name, "modernbert", projections=["query"])
    with pytest.raises(UserError, match="this model has no other"):
        in_place(name, "gpt2", projections=["gate"])


@pytest.mark.parametrize("name", KINDS)
def test_the_flags_tell_what_happens_to_the_base(name: str) -> None:
    """Whether something trains, whether pretrained weights change in training or before, and whether they are 4-bit."""
    kind = kind_of(name)
    pretrained = tiny("bert").state_dict()
    adapted = in_place(name)
    assert kind.trains is (count_parameters(adapted.backbone)[0] > 0)
    assert kind.quantised_base is any("absmax" in key for key in adapted.backbone.model.state_dict())
    steps_of = {key.replace(".base_layer", ""): key for key in adapted.backbone.model.state_dict()}
    if kind.trains:
        steps(adapted)
    state = adapted.backbone.model.state_dict()
    if not kind.quantised_base:
        moved = any(not torch.equal(value, state[steps_of[key]]) for key, value in pretrained.items())
        assert kind.moves_base is moved


def test_frozen_is_the_pretrained_model(tmp_path: Path) -> None:
    """Nothing trains, nothing is written, nothing changes."""
    adapted = in_place("frozen")
    assert isinstance(adapted.placed, Unadapted)
    assert adapted.placed.layers == adapted_layers(adapted.backbone) == []
    adapted.placed.merge()
    adapted.placed.train_mode()
    adapted.placed.save(tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()
    assert adapted.placed.changes() == {}
    with adapted.placed.disabled():
        assert torch.equal(adapted.vectors, adapted.pretrained)


def test_full_has_no_matrix_changes() -> None:
    """Biases and norms change too."""
    with pytest.raises(UserError, match="cannot be compared or merged with others; use adapter=lora"):
        in_place("full").placed.changes()


def test_full_saves_the_parameters_of_its_layers(tmp_path: Path) -> None:
    """And nothing else; a truncated file and other models are refused in one line, the model as it was."""
    adapted = in_place("full").shaken()
    adapted.placed.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [LAYERS]
    per_layer = sum(parameter.numel() for parameter in adapted.backbone.layers[0].parameters())
    assert (tmp_path / LAYERS).stat().st_size == pytest.approx(2 * per_layer * 4, rel=0.2)
    other = Backbone(tiny("gpt2"), None, "mean")
    before = vectors_of(other)
    with pytest.raises(UserError, match=r"belongs to another model: it has encoder.layer.0.*which this model lacks"):
        load_adapter(other, tmp_path)
    assert torch.equal(vectors_of(other), before)
    (tmp_path / LAYERS).write_bytes((tmp_path / LAYERS).read_bytes()[:50])
    with pytest.raises(UserError, match="cannot be read as a PEFT adapter"):
        load_adapter(Backbone(tiny("bert"), None, "mean"), tmp_path)


def test_oft_rotates() -> None:
    """W·R with R orthogonal: the rows keep their norms and angles, W·Wᵀ."""
    adapted = in_place("oft").shaken(0.5)
    before = weights(tiny("bert"))
    adapted.placed.merge()
    after = weights(adapted.backbone.model)
    for name in adapted.backbone.projections[0].values():
        assert not torch.allclose(after[name], before[name], atol=1e-2)
        torch.testing.assert_close(after[name] @ after[name].T, before[name] @ before[name].T, rtol=1e-4, atol=1e-4)


def test_ia3_scales_the_input_of_the_feed_forward_layer() -> None:
    """And the outputs of the others: factors stand on columns of `down`, on rows elsewhere."""
    adapted = in_place("ia3", "llama").shaken()
    before, modules = weights(tiny("llama")), adapted.backbone.projections[0]
    changes = adapted.placed.changes()
    for projection, axis in (("down", 0), ("key", 1), ("output", 1)):
        ratio = changes[modules[projection]].dense / before[modules[projection]]
        torch.testing.assert_close(ratio, ratio.mean(axis, keepdim=True).expand_as(ratio), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(("name", "model"), WITH_BIASES)
def test_changed_biases_are_not_hidden(name: str, model: str) -> None:
    """Weight changes would not be all of it."""
    with pytest.raises(UserError, match="changes biases too"):
        in_place(name, model).shaken().placed.changes()


def test_shira_changes_as_many_entries_as_lora_has_parameters() -> None:
    """rank·(d_in + d_out) of them, and no others."""
    changes = in_place("shira").shaken().placed.changes()
    for change in changes.values():
        assert int(change.dense.count_nonzero()) == 4 * sum(change.dense.shape)


def test_fourierft_has_that_many_frequencies() -> None:
    """ΔW is the real part of a spectrum with 50 entries, so it has at most 100 and at least 50/2."""
    for change in in_place("fourierft").shaken().placed.changes().values():
        spectrum = torch.fft.fft2(change.dense.double())
        count = int((spectrum.abs() > 1e-3 * spectrum.abs().max()).sum())
        assert 25 <= count <= 100


def test_rslora_scales_by_the_root_of_the_rank() -> None:
    """Alpha 8 at rank 4: ΔW = 4·B·A, where LoRA has 2·B·A; PEFT's adapters are the same for one seed."""
    scaled, plain = (in_place(name, alpha=8.0).shaken().placed.changes() for name in ("rslora", "lora"))
    for name, change in scaled.items():
        torch.testing.assert_close(change.dense, 2 * plain[name].dense)


def test_pissa_takes_the_largest_singular_components() -> None:
    """The weight that is left has the other singular values; with the adapter it is the whole."""
    adapted = in_place("pissa", layers=[1], projections=["query"])
    name = adapted.backbone.projections[1]["query"]
    left = adapted.backbone.model.get_submodule(name).get_base_layer().weight
    expected = torch.linalg.svdvals(weights(tiny("bert"))[name])[4:]
    torch.testing.assert_close(torch.linalg.svdvals(left)[:-4], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", MOVED)
def test_the_factors_of_what_moves_the_base_are_no_larger_than_the_change(name: str) -> None:
    """The factors hold nothing of the base's own components, which cancel out in B·A − B₀·A₀."""
    adapted = in_place(name).shaken()
    for change in adapted.placed.changes().values():
        up, down = change.factors  # type: ignore[misc]
        torch.testing.assert_close(up @ down, change.dense)
        assert float((up.norm(dim=0) * down.norm(dim=1)).square().sum()) == pytest.approx(
            float(change.dense.square().sum()), rel=1e-4
        )


def test_olora_starts_orthonormal() -> None:
    """B has orthonormal columns."""
    adapted = in_place("olora", layers=[1], projections=["query"])
    up = adapted.backbone.model.get_submodule(adapted.backbone.projections[1]["query"]).lora_B["default"].weight
    torch.testing.assert_close(up.T @ up, torch.eye(4), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", [name for name in ADAPTING if name not in {"full", "ia3", "oft"}])
def test_options_out_of_range_are_problems(name: str) -> None:
    """One line each, and all at once."""
    kind = kind_of(name)
    bad = {"rank": 0, "alpha": -1.0, "dropout": 1.0, "projections": ["q_proj"], "n_frequency": 0, "scaling": 0.0}
    given = {field.name: bad[field.name] for field in fields(kind) if field.name in bad}
    found = kind(**given).problems()
    assert {line.partition(":")[0].removeprefix("adapter.") for line in found} >= set(given)
    assert all(line.startswith("adapter.") and "expected" in line and "\n" not in line for line in found)
