"""The cosine of each layer's input and output, token by token, against a loop over the library's hidden states."""

import numpy as np
import pytest
import torch
from models import ENCODERS, padded, ragged, tiny
from transformers import PreTrainedModel

from layersel.backbone.backbone import Backbone
from layersel.selection.score import LayerScores, Probe, score_named

TEXTS = ragged([7, 12, 3, 30, 12, 5])


def scored(model: PreTrainedModel, pooling: str = "mean", **options: object) -> LayerScores:
    """The scores on some texts of several lengths in one batch."""
    probe = Probe([padded(model, TEXTS)], torch.Generator().manual_seed(0))
    return score_named("cosine", states="hidden_states", **options).scores(Backbone(model, pooling=pooling), probe)


def hidden(model: PreTrainedModel) -> list[np.ndarray]:
    """For each text alone its states: depths × tokens × width."""
    found = []
    with torch.no_grad():
        for text in TEXTS:
            states = model.base_model(input_ids=torch.tensor([text]), output_hidden_states=True).hidden_states
            found.append(torch.stack(states)[:, 0].double().numpy())
    return found


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    """⟨x, y⟩/‖x‖‖y‖."""
    return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))


@pytest.mark.parametrize("name", ["bert", "modernbert", "llama", "gpt2", "deberta"])
def test_all_tokens_count_once(name: str) -> None:
    """ShortGPT's block influence: every real token, of a long text more than of a short one, and no padding."""
    model = tiny(name)
    states = hidden(model)
    expected = [
        1 - np.mean([cosine(own[layer][t], own[layer + 1][t]) for own in states for t in range(own.shape[1])])
        for layer in range(3)
    ]
    assert scored(model, tokens="all").values_L.tolist() == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_pooled_is_the_vector_that_stands_for_the_text(name: str) -> None:
    """A decoder's last token, as in LS-LoRA; an encoder's [CLS], whose constant input is no obstacle here."""
    model = tiny(name)
    at, pooling = (0, "cls") if name in ENCODERS else (-1, "last")
    expected = [
        1 - np.mean([cosine(own[layer][at], own[layer + 1][at]) for own in hidden(model)]) for layer in range(3)
    ]
    found = scored(model, pooling, tokens="pooled")
    assert found.values_L.tolist() == pytest.approx(expected, abs=2e-6)
    assert found.excluded == {}


def test_resamples_weigh_texts_by_their_tokens() -> None:
    """Texts are drawn with repeats; each brings its own tokens. No resamples: none."""
    model = tiny("llama")
    by_text = [[cosine(own[1][t], own[2][t]) for t in range(own.shape[1])] for own in hidden(model)]
    draws = torch.randint(len(TEXTS), (4, len(TEXTS)), generator=torch.Generator().manual_seed(0))
    expected = [1 - np.mean([value for text in rows for value in by_text[text]]) for rows in draws.tolist()]
    assert scored(model, bootstrap=4).resampled_SL[:, 1].tolist() == pytest.approx(expected, abs=2e-6)
    assert scored(model, bootstrap=0).resampled_SL is None


def test_a_layer_that_does_nothing_has_none_and_one_that_turns_round_has_two() -> None:
    """The range is from 0 to 2: an identity, and a residual that is taken off twice."""
    model = tiny("llama")
    with torch.no_grad():
        for layer in model.layers[:2]:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
    model.layers[1].register_forward_hook(lambda _, __, out: -out)
    assert scored(model).values_L[:2].tolist() == pytest.approx([0, 2], abs=1e-6)


def test_of_the_states_only_two_depths_are_kept() -> None:
    """What it holds on to does not grow with the layers: each depth's states are freed when the next but one comes."""
    import weakref

    model = tiny("bert")
    alive: list[weakref.ref[torch.Tensor]] = []
    most = 0
    normalize = torch.nn.functional.normalize

    def counting(*args: torch.Tensor, **options: int) -> torch.Tensor:
        nonlocal most
        unit = normalize(*args, **options)
        most = max(most, sum(ref() is not None for ref in alive) + 1)
        alive.append(weakref.ref(unit))
        return unit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("layersel.selection.measures.block_influence.normalize", counting)
        scored(model)
    assert len(alive) == 4
    assert most == 2
