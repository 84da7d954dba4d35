"""What every score has that needs no labels: one pass, the same twice, the model as it was, one line for NaN."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from label_free import LABEL_FREE, LOOKING, MEASURING, few
from models import N_LAYERS, hooks_and_wrappers, padded, ragged, tiny
from torch import nn
from transformers import PreTrainedModel

from layersel.backbone.backbone import Backbone
from layersel.backbone.layers import find_layers
from layersel.errors import UserError
from layersel.selection.score import Probe
from layersel.selection.select import select_layers
from layersel.selection.selection import Selection

TEXTS = ragged([7, 12, 3, 30, 12, 5, 9, 21])


def chosen(model: PreTrainedModel, name: str, pieces: int = 1, **options: object) -> Selection:
    """The selection by that score, from the texts in that many batches."""
    batches = [padded(model, TEXTS[start::pieces]) for start in range(pieces)]
    return select_layers(model, batches, score=few(name, n=1, **options), pooling="mean")


@contextmanager
def counting(module: nn.Module) -> Iterator[list[int]]:
    """Within the block, the number of texts of each call of the module."""
    calls: list[int] = []
    handle = module.register_forward_hook(lambda _, args, __: calls.append(len(args[0])))
    yield calls
    handle.remove()


@pytest.mark.parametrize("name", MEASURING)
def test_one_pass_is_enough(name: str) -> None:
    """Every text goes through the layers once; scores of the weights run nothing."""
    model = tiny("llama")
    with counting(find_layers(model)[1][0]) as calls:
        chosen(model, name, pieces=2)
    assert calls == ([4, 4] if name in LOOKING else [])


@pytest.mark.parametrize("name", MEASURING)
@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_twice_the_same_and_the_model_as_it_was(name: str, kind: str, global_rng_untouched: None) -> None:
    """Modes, flags, weights and hooks, which were uneven before; a number for each layer, all measured."""
    model = tiny(kind).train()
    find_layers(model)[1][1].eval().requires_grad_(False)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    state = [(module.training, set(vars(module))) for module in model.modules()]
    flags, hooks = [own.requires_grad for own in model.parameters()], hooks_and_wrappers(model)
    first, again = (chosen(model, name) for _ in range(2))
    assert first == again
    assert first.measured
    assert len(first.scores) == N_LAYERS
    assert len(set(first.scores)) > 1
    assert [(module.training, set(vars(module))) for module in model.modules()] == state
    assert [own.requires_grad for own in model.parameters()] == flags
    assert hooks_and_wrappers(model) == hooks
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", LOOKING)
def test_padding_and_batching_do_not_matter(name: str) -> None:
    """One batch, or three of other widths."""
    model = tiny("bert")
    whole, pieces = (chosen(model, name, pieces=count) for count in (1, 3))
    assert pieces.scores == pytest.approx(whole.scores, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", MEASURING)
def test_a_weight_that_is_not_a_number_is_one_line(name: str) -> None:
    """It makes states and singular values that are none; the model has no hooks afterwards and its modes."""
    model = tiny("bert").train()
    hooks = hooks_and_wrappers(model)
    with torch.no_grad():
        find_layers(model)[1][1].intermediate.dense.weight[0, 0] = torch.nan
    with pytest.raises(UserError, match=rf"^selection={name}: .*; use ") as error:
        chosen(model, name)
    assert "\n" not in str(error.value)
    assert hooks_and_wrappers(model) == hooks
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("name", LABEL_FREE)
def test_one_layer_can_be_scored(name: str) -> None:
    """A model may have a single layer: it is chosen whatever its score."""
    model = tiny("llama")
    del model.layers[1:]
    model.config.num_hidden_layers = 1
    score = few(name)
    selection = select_layers(model, [padded(model, TEXTS)], score=score)
    assert selection.layers == ([] if score.chooses_none else [0])
    assert selection.stability is None or math.isnan(selection.stability.rank_correlation)


@pytest.mark.parametrize("name", [name for name in MEASURING if name not in LOOKING])
def test_scores_of_the_weights_need_no_texts(name: str) -> None:
    """None given, or some: the same."""
    model = tiny("bert")
    assert select_layers(model, [], score=few(name, n=1)) == chosen(model, name)


def test_names_are_those_of_the_linear_modules() -> None:
    """Where a score is made of modules, each has a score of its own, by the name that its adapter would have."""
    model = tiny("gpt2")
    backbone = Backbone(model, pooling="mean")
    for name in ("spectrum", "kappa", "outliers", "plop"):
        probe = Probe([padded(model, TEXTS)], torch.Generator().manual_seed(0))
        assert set(few(name).scores(backbone, probe).modules) == {
            f"h.{layer}.{own}" for layer in range(3) for own in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
        }
