"""`select_layers`: any model, texts or batches, a user's own score, and the model as it was."""

from dataclasses import dataclass

import pytest
import torch
from models import (
    ARCHITECTURES,
    ENCODERS,
    N_LAYERS,
    hooks_and_wrappers,
    padded,
    ragged,
    seeded,
    t5,
    tiny,
    tokenizer_without_cls,
)
from transformers import PreTrainedModel, PreTrainedTokenizerFast, T5EncoderModel

from layersel.backbone.backbone import Backbone
from layersel.errors import UserError
from layersel.selection.score import LayerScores, Probe, Score
from layersel.selection.scores.cka import CKA
from layersel.selection.select import select_layers

WORDS = ["war and trauma", "the care of children", "a study", "posttraumatic stress disorder after combat", "sleep"]
TEXTS = ragged([7, 12, 3, 30, 12, 5])


def _pooling(name: str) -> str:
    return "cls" if name in ENCODERS or name == "bert_classifier" else "last"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_gives_a_selection_and_stays_as_it_was(name: str, global_rng_untouched: None) -> None:
    """Weights, modes, gradient settings, gradients and hooks, each of which was set to something uneven before."""
    model = tiny(name)
    layers = Backbone(model, None, "mean").layers
    model.train()
    layers[1].eval()
    layers[0].requires_grad_(False)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    state = [(module.training, set(vars(module))) for module in model.modules()]
    gradients = [parameter.requires_grad for parameter in model.parameters()]
    hooks = hooks_and_wrappers(model)

    score = CKA(n=2, bootstrap=3)
    selection = select_layers(model, [padded(model, TEXTS)], score=score, pooling=_pooling(name))

    assert len(selection.layers) == 2
    assert len(selection.scores) == N_LAYERS
    assert [(module.training, set(vars(module))) for module in model.modules()] == state
    assert [parameter.requires_grad for parameter in model.parameters()] == gradients
    assert all(parameter.grad is None for parameter in model.parameters())
    assert hooks_and_wrappers(model) == hooks
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["bert", "deberta", "modernbert"])
def test_dropout_of_a_model_in_training_mode_does_not_reach_the_scores(name: str) -> None:
    """Scores are of the pretrained model, not of a noisy one."""
    model = tiny(name)
    batches = [padded(model, TEXTS)]
    score = CKA(bootstrap=3)
    expected = select_layers(model, batches, score=score, pooling="mean")
    assert select_layers(model.train(), batches, score=score, pooling="mean") == expected


@pytest.mark.parametrize(("with_head", "base"), [("bert_classifier", "bert"), ("llama_causal", "llama")])
def test_a_head_changes_nothing_but_the_module_names(with_head: str, base: str) -> None:
    """The scores are those of the base model; the names lead into the model with the head."""
    headed, bare = tiny(with_head), tiny(base)
    headed.base_model.load_state_dict(bare.state_dict(), strict=False)
    batches = [padded(bare, TEXTS)]
    first, second = (select_layers(model, batches, pooling="last") for model in (headed, bare))
    assert first.scores == pytest.approx(second.scores, abs=1e-6)
    prefix = headed.base_model_prefix
    assert first.modules == [{role: f"{prefix}.{name}" for role, name in layer.items()} for layer in second.modules]


def test_texts_and_their_ready_batches_give_the_same(tokenizer: PreTrainedTokenizerFast) -> None:
    """A tokenizer's own output, padded by it, is a batch."""
    model = tiny("bert")
    ready = tokenizer(WORDS, padding=True, return_tensors="pt")
    from_texts = select_layers(model, WORDS, tokenizer=tokenizer)
    from_batches = select_layers(model, [ready])
    assert from_batches.layers == from_texts.layers
    assert from_batches.scores == pytest.approx(from_texts.scores, abs=1e-5, nan_ok=True)


def test_texts_work_for_decoders(tokenizer: PreTrainedTokenizerFast) -> None:
    """The last token is the text's vector; CLS is refused for such a tokenizer."""
    decoder_tokenizer = tokenizer_without_cls()
    selection = select_layers(tiny("llama"), WORDS, n=1, tokenizer=decoder_tokenizer, pooling="last")
    assert len(selection.layers) == 1
    with pytest.raises(UserError, match="use mean, or last for a decoder"):
        select_layers(tiny("llama"), WORDS, tokenizer=decoder_tokenizer)


def test_long_texts_are_cut_to_the_length_allowed(tokenizer: PreTrainedTokenizerFast) -> None:
    """What stands behind `max_length` tokens has no say, and a text beyond the model's positions does not break it."""
    model = tiny("bert")
    endless = [f"{text} and more" * 50 for text in WORDS]
    cut = [" ".join([text, "and", "more"] * 50) for text in WORDS]
    assert len(tokenizer(endless[0])["input_ids"]) > model.config.max_position_embeddings
    for texts in (endless, cut):
        assert len(select_layers(model, texts, tokenizer=tokenizer, max_length=16).scores) == N_LAYERS
    longer = [f"{' '.join(['war'] * 14)} {tail}" for tail in WORDS]
    with pytest.raises(UserError, match="all alike"):  # 14 words and two special tokens: the tails are gone
        select_layers(model, longer, tokenizer=tokenizer, max_length=16, pooling="mean")


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], "expected strings or token batches, but got 0 and 0"),
        (["a", {"input_ids": torch.ones(1, 2)}], "but got 1 and 1"),
        (WORDS, "expected the model's tokenizer for texts, but got None"),
    ],
)
def test_what_is_no_probe_is_refused(texts: list[object], expected: str) -> None:
    """No texts, a mixture, and texts without a tokenizer are refused."""
    with pytest.raises(UserError, match=expected):
        select_layers(tiny("bert"), texts)


def test_unknown_score_and_pooling_list_the_known_ones() -> None:
    """They are refused before the model runs."""
    model = tiny("bert")
    with pytest.raises(UserError, match=r"score: expected one of all, cka, .* but got 'fisher'"):
        select_layers(model, [padded(model, TEXTS)], score="fisher")
    with pytest.raises(UserError, match="pooling: expected one of cls, mean, last, but got 'max'"):
        select_layers(model, [padded(model, TEXTS)], pooling="max")


def test_an_encoder_that_cannot_be_split_can_still_be_scored() -> None:
    """T5's encoder: its layers share a position bias, but a whole pass is all that CKA needs."""
    model = seeded(lambda: T5EncoderModel(t5()))
    selection = select_layers(model, [padded(model, TEXTS)], n=1, pooling="mean")
    assert len(selection.layers) == 1
    assert len(selection.lora_config(projections=["query"]).target_modules) == 1


@dataclass
class WeightNorm(Score):
    """A user's own score: the norm of the value projection; needs the public names only."""

    factor: float = 1.0

    def scores(self, backbone: Backbone, probe: Probe) -> LayerScores:
        """One norm a layer."""
        norms = [backbone.model.get_submodule(named["value"]).weight.norm() for named in backbone.projections]
        return LayerScores(self.factor * torch.stack(norms).detach().double())


def _with_a_heavy_layer() -> PreTrainedModel:
    model = tiny("bert")
    with torch.no_grad():
        model.encoder.layer[1].attention.self.value.weight.mul_(5)
    return model


def test_a_users_own_score_works_as_an_object() -> None:
    """It keeps its budget and options, and leads to a PEFT configuration."""
    model = _with_a_heavy_layer()
    batches = [padded(model, TEXTS)]
    selection = select_layers(model, batches, score=WeightNorm(n=1))
    assert selection.layers == [1]
    assert selection.stability is None
    assert selection.lora_config().target_modules == {
        "encoder.layer.1.attention.self.query",
        "encoder.layer.1.attention.self.value",
    }
    assert select_layers(model, batches, score=WeightNorm(n=2, factor=-1)).layers == [0, 2]


def test_a_users_own_score_is_held_to_the_contract() -> None:
    """A NaN that no exclusion explains is refused, and so is a budget that does not fit."""
    model = tiny("bert")
    with pytest.raises(UserError, match=r"not a number for layers \[0, 1, 2\]"):
        select_layers(model, [padded(model, TEXTS)], score=WeightNorm(factor=float("nan")))
    with pytest.raises(UserError, match="at most 3"):
        select_layers(model, [padded(model, TEXTS)], score=WeightNorm(n=4))


def test_a_users_own_exclusion_gives_its_reason() -> None:
    """The reason of the score stands in the selection's."""

    @dataclass
    class OnlyTwo(Score):
        """A user's own score with layer 2 by default."""

        def scores(self, backbone: Backbone, probe: Probe) -> LayerScores:
            """The highest score is excluded."""
            return LayerScores(torch.tensor([3.0, 1.0, 2.0]), {0: "kept for later"})

    model = tiny("bert")
    selection = select_layers(model, [padded(model, TEXTS)], score=OnlyTwo(n=1))
    assert selection.layers == [2]
    assert selection.reasons[0] == "kept for later; beyond the budget of 1"


def test_a_batch_without_mask_is_refused() -> None:
    """The pooling's KeyError becomes one line."""
    with pytest.raises(UserError, match="token batches with input_ids and attention_mask, but one lacks them"):
        select_layers(tiny("bert"), [{"input_ids": torch.ones(4, 3, dtype=torch.long)}], pooling="mean")
