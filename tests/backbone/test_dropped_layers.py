"""A model without some of its layers is the model that one would build with the others alone."""

import copy
import re
from pathlib import Path

import pytest
import torch
from models import ARCHITECTURES, DECODERS, N_LAYERS, hooks_and_wrappers, padded, ragged, seeded, t5, tiny
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import AutoModel, PreTrainedModel, T5EncoderModel

from layersel.backbone.backbone import Backbone
from layersel.backbone.layers import find_layers, find_projections
from layersel.backbone.pretrained import Pretrained
from layersel.backbone.shorten import drop_layers
from layersel.errors import UserError

SUBSETS = [(0,), (1,), (2,), (0, 2)]


def _built_by_hand(model: PreTrainedModel, kept: list[int]) -> PreTrainedModel:
    """A new model of a configuration with fewer layers, into which the weights of the kept ones are copied."""
    stack = re.escape(find_layers(model)[0])
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = len(kept)
    if getattr(config, "layer_types", None):
        config.layer_types = [config.layer_types[index] for index in kept]
    weights = {}
    for name, weight in model.state_dict().items():
        inside = re.match(rf"{stack}\.(\d+)\.(.*)", name)
        if inside is None:
            weights[name] = weight
        elif int(inside[1]) in kept:
            weights[f"{find_layers(model)[0]}.{kept.index(int(inside[1]))}.{inside[2]}"] = weight
    built = type(model)(config).eval()
    built.load_state_dict(weights, strict=True)
    return built


def _vectors(model: PreTrainedModel) -> Tensor:
    with torch.no_grad():
        return Backbone(model, None, "mean")(padded(model, ragged()))


def _allowed(model: PreTrainedModel, dropped: tuple[int, ...]) -> bool:
    """ModernBERT's first layer alone has no norm before its attention, so that no other can take its place."""
    return not (model.config.model_type == "modernbert" and 0 in dropped)


@pytest.mark.parametrize("dropped", SUBSETS, ids=str)
def test_equals_a_model_built_by_hand(fresh_model: PreTrainedModel, dropped: tuple[int, ...]) -> None:
    """Same vectors to the bit, same modules, same numbers of the layers; or refused and left as it was."""
    kept = [index for index in range(N_LAYERS) if index not in dropped]
    backbone = Backbone(fresh_model, None, "mean")
    whole = _vectors(fresh_model)
    if not _allowed(fresh_model, dropped):
        with pytest.raises(UserError, match=r"builds its layer 0 unlike its layer .*; keep layer 0$"):
            drop_layers(backbone, dropped)
        assert torch.equal(_vectors(fresh_model), whole)
        assert fresh_model.config.num_hidden_layers == backbone.n_layers == N_LAYERS
        return
    with torch.random.fork_rng():
        reference = _built_by_hand(fresh_model, kept)
    drop_layers(backbone, dropped)
    assert torch.equal(_vectors(fresh_model), _vectors(reference))
    assert not torch.allclose(_vectors(fresh_model), whole, atol=1e-3)
    numbers = [getattr(module, "layer_idx", None) for module in fresh_model.modules()]
    assert numbers == [getattr(module, "layer_idx", None) for module in reference.modules()]
    assert repr(fresh_model) == repr(reference)


def test_the_backbone_knows_its_new_layers(fresh_model: PreTrainedModel) -> None:
    """Their number, their projections, and how a pass is cut into prefix and suffix."""
    backbone = Backbone(fresh_model, None, "mean")
    backbone.check_split()
    drop_layers(backbone, [1])
    assert backbone.n_layers == N_LAYERS - 1 == len(backbone.projections)
    assert backbone.layers is find_layers(fresh_model)[1]
    assert backbone.projections == find_projections(fresh_model)
    batch = padded(fresh_model, ragged())
    with torch.no_grad():
        whole = backbone(batch)
        assert backbone.pooled_states(batch).shape[0] == N_LAYERS
        torch.testing.assert_close(backbone(batch, 1, backbone.prefix(batch, 1)), whole, rtol=0, atol=1e-6)


def test_the_shorter_model_is_saved_and_loaded_like_any_other(fresh_model: PreTrainedModel, tmp_path: Path) -> None:
    """`save_pretrained` and the automatic class do it; a head is left behind, as for the whole model."""
    drop_layers(Backbone(fresh_model, None, "mean"), [1])
    fresh_model.save_pretrained(tmp_path)
    loaded, found = AutoModel.from_pretrained(tmp_path, dtype=torch.float32, output_loading_info=True)
    assert all(key.startswith("pooler.") for key in found["missing_keys"])
    torch.testing.assert_close(_vectors(loaded.eval()), _vectors(fresh_model), rtol=0, atol=1e-6)


def test_the_shorter_model_is_a_pretrained_model_of_ours(tiny_model_folder: Path, tmp_path: Path) -> None:
    """`model.path=FOLDER` takes it."""
    backbone = Pretrained(path=str(tiny_model_folder), pooling="mean").load()
    drop_layers(backbone, [0, 2])
    backbone.model.save_pretrained(tmp_path)
    backbone.tokenizer.save_pretrained(tmp_path)
    loaded = Pretrained(path=str(tmp_path), pooling="mean").load()
    batch = loaded.batch(ragged())
    assert loaded.n_layers == 2
    with torch.no_grad():
        assert torch.equal(loaded(batch), backbone(batch))


@pytest.mark.parametrize("name", DECODERS)
def test_the_cache_of_a_shorter_decoder_has_no_hole(name: str) -> None:
    """Token by token with keys and values kept gives the states of the whole text."""
    model = tiny(name)
    drop_layers(Backbone(model, None, "last"), [1])
    ids = torch.tensor(ragged([6]))
    with torch.no_grad():
        whole = model(input_ids=ids).last_hidden_state
        cache, states = None, []
        for token in ids[0]:
            output = model(input_ids=token.view(1, 1), past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            states.append(output.last_hidden_state)
    assert len(cache) == N_LAYERS - 1
    torch.testing.assert_close(torch.cat(states, dim=1), whole, rtol=0, atol=1e-5)


def test_dropping_none_changes_nothing(fresh_model: PreTrainedModel) -> None:
    """Neither weights nor configuration."""
    before, config = hooks_and_wrappers(fresh_model), fresh_model.config.to_dict()
    vectors = _vectors(fresh_model)
    drop_layers(Backbone(fresh_model, None, "mean"), [])
    assert hooks_and_wrappers(fresh_model) == before
    assert fresh_model.config.to_dict() == config
    assert torch.equal(_vectors(fresh_model), vectors)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_dropping_draws_no_random_numbers(name: str, global_rng_untouched: None) -> None:
    """This holds although models are built on the way."""
    drop_layers(Backbone(tiny(name), None, "mean"), [2])


def test_a_list_that_happens_to_be_as_long_stays() -> None:
    """DeBERTa has two kinds of positions, whatever the number of layers."""
    model = tiny("deberta")
    backbone = Backbone(model, None, "mean")
    drop_layers(backbone, [0])
    drop_layers(backbone, [0])
    assert backbone.n_layers == 1
    assert list(model.config.pos_att_type) == ["p2c", "c2p"]


@pytest.mark.parametrize(
    ("dropped", "message"),
    [
        ([0, 1, 2], r"^layers to drop: expected fewer than all 3; keep at least one$"),
        ([3], r"^layers to drop: expected indices from 0 to 2, but got \[3\]$"),
        ([-1, 1], r"^layers to drop: expected indices from 0 to 2, but got \[-1\]$"),
    ],
)
def test_impossible_layers_are_refused(dropped: list[int], message: str) -> None:
    """The message is one line."""
    with pytest.raises(UserError, match=message):
        drop_layers(Backbone(tiny("bert"), None, "mean"), dropped)


def test_a_model_with_adapters_is_refused() -> None:
    """Their files name layers by number."""
    model = tiny("bert")
    backbone = Backbone(model, None, "mean")
    get_peft_model(model, LoraConfig(target_modules=["query"]))
    with pytest.raises(UserError, match=r"without adapters.*merge the adapters first$"):
        drop_layers(backbone, [1])


def test_a_layer_that_serves_the_others_is_kept() -> None:
    """T5's first layer makes the position bias of all: without it the others would have none."""
    backbone = Backbone(seeded(lambda: T5EncoderModel(t5())), None, "mean")
    with pytest.raises(UserError, match=r"keep layer 0$"):
        drop_layers(backbone, [0])
    drop_layers(backbone, [1])
    assert backbone.n_layers == N_LAYERS - 1
