"""Modules with ranks of their own: every kind that takes them has them in place, saved, merged and resumed."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from models import bert, padded, ragged, seeded, tiny
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from placing import KINDS, InPlace, adapter_of, kind_of, selection_of, vectors_of
from resuming import N_BATCHES, assert_goes_on_as, attempt
from transformers import BertModel

from layersel.adapters.kinds.lora import Lora
from layersel.adapters.loading import load_adapter
from layersel.adapters.placement import check_ranks, count_parameters, place
from layersel.backbone.backbone import Backbone
from layersel.errors import UserError
from layersel.merging.merge import merge_adapters
from layersel.merging.methods.average import Average
from layersel.selection.ranks.proportional import Proportional
from layersel.selection.scores.cka import CKA
from layersel.selection.select import select_layers
from layersel.selection.selection import Selection

TAKING = ["dora", "lora", "olora", "pissa", "qlora", "rslora"]


def uneven(model: str = "bert") -> Selection:
    """Layers 0 and 2 of a tiny model, of which the second counts three times as much."""
    return replace(selection_of(tiny(model)), score="cka", measured=True, scores=[1.0, 0.0, 3.0])


def in_place(name: str, model: str = "bert") -> tuple[InPlace, Selection]:
    """An adapter of that kind with ranks of its own, and the selection that has them."""
    if kind_of(name).quantised_base:
        pytest.importorskip("bitsandbytes")
    backbone = Backbone(tiny(model), None, "mean")
    adapter, pretrained = adapter_of(name, backbone.model), vectors_of(backbone)
    selection = adapter.with_ranks(uneven(model), Proportional())
    return InPlace(
        backbone, adapter.place(backbone, selection, torch.Generator().manual_seed(0)), pretrained
    ), selection


@pytest.mark.parametrize("model", ["bert", "llama"])
@pytest.mark.parametrize("name", TAKING)
def test_every_module_has_its_rank_and_scale(name: str, model: str) -> None:
    """Ranks 2 and 6 in PEFT's layers, scales as with rank 4 everywhere, and exactly as many parameters."""
    found, selection = in_place(name, model)
    assert selection.allocation is not None
    layers = {own: part for own, part in found.backbone.model.named_modules() if isinstance(part, LoraLayer)}
    ranks = {own: len(part.lora_A["default"].weight) for own, part in layers.items()}
    assert ranks == selection.allocation.ranks
    assert set(ranks.values()) == {2, 6}
    for own, part in layers.items():
        assert part.scaling["default"] == pytest.approx(8 / ranks[own] ** 0.5 if name == "rslora" else 2.0)
    uniform = Backbone(tiny(model), None, "mean")
    adapter_of(name, uniform.model).place(uniform, uneven(model), torch.Generator())
    assert count_parameters(found.backbone)[0] == count_parameters(uniform)[0]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("name", TAKING)
def test_saved_ranks_are_read_again(name: str, tmp_path: Path) -> None:
    """PEFT reads them too, but for a quantised base, and gives the same vectors; merged, they are in the weights."""
    found, _ = in_place(name)
    found.shaken().placed.save(tmp_path / "adapter")
    expected = found.vectors
    assert not torch.allclose(expected, found.pretrained, atol=1e-3)
    tolerance = 1e-5 if kind_of(name).moves_base else 1e-6
    backbone = Backbone(tiny("bert"), None, "mean")
    load_adapter(backbone, tmp_path / "adapter")
    torch.testing.assert_close(vectors_of(backbone), expected, rtol=0, atol=tolerance)
    if name == "qlora":
        return
    plain = tiny("bert")
    PeftModel.from_pretrained(plain, str(tmp_path / "adapter"))
    torch.testing.assert_close(vectors_of(Backbone(plain, None, "mean")), expected, rtol=0, atol=tolerance)
    found.placed.merge()
    torch.testing.assert_close(found.vectors, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("name", [name for name in KINDS if name not in TAKING])
def test_other_kinds_refuse(name: str) -> None:
    """In one line that names the kind; with ranks=uniform they are as ever."""
    adapter = adapter_of(name, tiny("bert"))
    with pytest.raises(UserError, match=rf"^ranks=proportional: adapter={name} does not take a rank for each module;"):
        adapter.with_ranks(uneven(), Proportional())


def test_layer_1_is_neither_layer_10_nor_11() -> None:
    """PEFT takes names for patterns of their ends; twelve layers, each with a rank of its own."""
    model = seeded(lambda: BertModel(bert(num_hidden_layers=12)))
    everywhere = selection_of(model, list(range(12)))
    selection = replace(everywhere, score="cka", measured=True, scores=[1.0 + layer for layer in range(12)])
    own = Lora(rank=12).with_ranks(selection, Proportional())
    Lora(rank=12).place(Backbone(model, None, "mean"), own, torch.Generator())  # which checks it
    assert own.allocation is not None
    assert len(set(own.allocation.ranks.values())) >= 11


def test_a_rank_that_peft_did_not_take_is_an_error() -> None:
    """Its patterns may match nothing, of which it only warns; a scale may be another."""
    selection = uneven().allocated("proportional", 4)
    assert selection.allocation is not None
    config = selection.lora_config(r=4)
    config.rank_pattern = {re.sub("layer", "layers", name): rank for name, rank in config.rank_pattern.items()}
    with (
        pytest.warns(RuntimeWarning, match="rank_pattern keys did not match"),
        pytest.raises(RuntimeError, match=r"query has rank and scale \(4, 1.0\), but was given \(2, 2.0\)"),
    ):
        place(Backbone(tiny("bert"), None, "mean"), selection, config, torch.Generator())
    found, _ = in_place("lora")
    config = selection.lora_config(r=4, projections=None)
    with pytest.raises(RuntimeError, match="are adapted or were given a rank, but not both"):
        check_ranks(found.backbone, {}, config)


def test_adapters_of_different_ranks_are_merged() -> None:
    """Their changes are of full size, and so is the mean that is factored again."""
    changes = [in_place(name)[0].shaken(scale).placed.changes() for name, scale in (("lora", 0.2), ("rslora", 0.1))]
    layer_of = {name: layer for layer, named in enumerate(uneven().modules) for name in named.values()}
    merged = merge_adapters(Average(rank=12), changes, layer_of, torch.Generator())
    for name, (up_OR, down_RI) in merged.factors.items():
        mean = (changes[0][name].dense + changes[1][name].dense) / 2
        torch.testing.assert_close(up_OR @ down_RI, mean, rtol=1e-4, atol=1e-5)


def test_a_resumed_training_keeps_its_ranks(tmp_path: Path) -> None:
    """The ranks are in the checkpoint, and are not allocated anew; another rule is refused."""
    options = {"score": CKA(n=2, bootstrap=0, probe_size=8), "ranks": Proportional(temperature=9.0)}
    whole = attempt(tmp_path / "whole", **options)
    ranks = whole.toy.selector.selection.allocation.ranks  # type: ignore[union-attr]
    assert len(set(ranks.values())) > 1
    checkpoint = tmp_path / "whole" / "checkpoints" / f"{N_BATCHES + 1}.ckpt"
    resumed = attempt(tmp_path / "resumed", checkpoint, **options)
    assert_goes_on_as(resumed, whole, N_BATCHES + 1)
    assert resumed.toy.selector.selection == whole.toy.selector.selection
    with pytest.raises(UserError, match=r"ranks.temperature: expected 9.0 as in the checkpoint .*, but got 2.0"):
        attempt(tmp_path / "other", checkpoint, **options | {"ranks": Proportional(temperature=2.0)})


def test_ranks_of_a_real_score(global_rng_untouched: None) -> None:
    """From texts to parameters by the library alone, twice the same."""
    model = tiny("gpt2")
    found = [
        select_layers(model, [padded(model, ragged([9] * 8))], n=2, score="cka", pooling="mean").allocated("gora", 4)
        for _ in range(2)
    ]
    assert found[0].allocation == found[1].allocation
    backbone = Backbone(model, None, "mean")
    place(backbone, found[0], found[0].lora_config(r=4), torch.Generator())
    assert count_parameters(backbone)[0] == found[0].allocation.budget == 2 * 4 * (32 + 96)  # type: ignore[union-attr]
