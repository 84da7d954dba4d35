"""`select_layers`: any model, texts or batches, a user's own score, and the model as it was."""

from dataclasses import dataclass

import pytest
import torch
import transformers as hf
from models import (
    ARCHITECTURES,
    ENCODERS,
    N_LAYERS,
    bert,
    hooks_and_wrappers,
    padded,
    ragged,
    seeded,
    t5,
    tiny,
    tokenizer_without_cls,
)
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel, PreTrainedTokenizerFast, T5EncoderModel

from layersel.backbone.backbone import Backbone
from layersel.backbone.pooling import default_pooling
from layersel.errors import UserError
from layersel.selection.score import LayerScores, Probe, Score
from layersel.selection.scores.cka import CKA
from layersel.selection.select import select_layers

WORDS = ["war and trauma", "the care of children", "a study", "posttraumatic stress disorder after combat", "sleep"]
TEXTS = ragged([7, 12, 3, 30, 12, 5])


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
    selection = select_layers(model, [padded(model, TEXTS)], score=score)

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
    selection = select_layers(tiny("llama"), WORDS, n=1, tokenizer=decoder_tokenizer)
    assert selection == select_layers(tiny("llama"), WORDS, n=1, tokenizer=decoder_tokenizer, pooling="last")
    with pytest.raises(UserError, match="use mean, or last for a decoder"):
        select_layers(tiny("llama"), WORDS, tokenizer=decoder_tokenizer, pooling="cls")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_pooling_follows_the_kind_of_the_model(name: str) -> None:
    """Last token for a decoder, [CLS] for an encoder, with or without a head."""
    model = tiny(name)
    expected = "cls" if name in ENCODERS or name == "bert_classifier" else "last"
    assert default_pooling(model) == expected
    batches, score = [padded(model, TEXTS)], CKA(n=1, bootstrap=0)
    by_default = select_layers(model, batches, score=score)
    assert repr(by_default) == repr(select_layers(model, batches, score=score, pooling=expected))  # NaN is not NaN


def test_an_encoder_without_cls_has_the_mean(tokenizer: PreTrainedTokenizerFast) -> None:
    """One whose tokenizer lacks the token, and T5's, which never had one."""
    assert default_pooling(tiny("bert"), tokenizer) == "cls"
    assert default_pooling(tiny("bert"), tokenizer_without_cls()) == "mean"
    assert default_pooling(seeded(lambda: T5EncoderModel(t5()))) == "mean"


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
        ([], "texts: expected some 100 texts, at which selection=cka looks, but got none"),
        (["a", {"input_ids": torch.ones(1, 2)}], "but got 1 and 1"),
        (WORDS, "expected the model's tokenizer for texts, but got None"),
    ],
)
def test_what_is_no_probe_is_refused(texts: list[object], expected: str) -> None:
    """No texts, a mixture, and texts without a tokenizer are refused."""
    with pytest.raises(UserError, match=expected):
        select_layers(tiny("bert"), texts)


ROW = {"input_ids": [2, 7, 9], "attention_mask": [1, 1, 1]}


@pytest.mark.parametrize(
    ("texts", "options", "expected"),
    [
        (WORDS[0], {}, "^texts: expected a list of texts or of token batches, but got one str; put some 100 texts"),
        (
            {name: torch.tensor([own]) for name, own in ROW.items()},
            {},
            "but got one dict; put some 100 texts into a list",
        ),
        (None, {}, "but got one NoneType; put some 100 texts into a list"),
        ([*WORDS, float("nan")], {}, f"expected strings or token batches, but got nan at place {len(WORDS)}"),
        ([{"text": "a"}] * 5, {}, "but got one with text; of a dataset give the column of texts"),
        (
            [{name: torch.tensor([[999]]) for name in ROW}],
            {},
            "expected token ids below .*, the model.s voc.* but got 999",
        ),
        ([ROW] * 5, {}, "expected batches of tensors, .* but got input_ids of list; give the strings, or pad the rows"),
        ([{name: torch.tensor(own) for name, own in ROW.items()}] * 5, {}, "but got input_ids of a 1-dimensional"),
        ([{name: torch.tensor([own]) for name, own in ROW.items()} | {"text": ["a"]}], {}, "but got text of list"),
        ([None] * 5, {}, "expected strings or token batches, but got None at place 0"),
        (WORDS, {"n": "3"}, r"^selection\.n: expected a number of layers, or a share of them below 1, but got '3'"),
        (WORDS, {"n": True}, r"^selection\.n: expected a number of layers, or a share of them below 1, but got True"),
        (WORDS, {"seed": "abc"}, "^seed: expected a whole number, but got 'abc'"),
        (WORDS, {"tokenizer": "minilm"}, "^tokenizer: expected one of transformers, but got str"),
        (WORDS, {"max_length": 0}, "^max_length: expected at least 3 tokens, special ones included, but got 0"),
        (WORDS, {"max_length": 2}, "^max_length: expected at least 3 tokens"),
    ],
)
def test_other_kinds_of_probe_and_budget_are_refused(
    texts: object, options: dict[str, object], expected: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    """One text alone, one batch, the rows of a tokenised dataset, and what is no number: one line each."""
    with pytest.raises(UserError, match=expected) as refused:
        select_layers(tiny("bert"), texts, **{"tokenizer": tokenizer} | options)
    assert "\n" not in str(refused.value)


def test_texts_may_come_from_a_generator(tokenizer: PreTrainedTokenizerFast) -> None:
    """A generator of texts gives what a list of them does, also to a control, which looks at none."""
    model, options = tiny("bert"), {"tokenizer": tokenizer, "pooling": "mean"}
    assert select_layers(model, (text for text in WORDS), **options) == select_layers(model, WORDS, **options)
    assert select_layers(model, iter([]), score="last", n=1).layers == [N_LAYERS - 1]


def test_unknown_score_and_pooling_list_the_known_ones() -> None:
    """They are refused before the model runs."""
    model = tiny("bert")
    with pytest.raises(UserError, match=r"score: expected one of .*all, cka, .* but got 'hessian'"):
        select_layers(model, [padded(model, TEXTS)], score="hessian")
    with pytest.raises(UserError, match="pooling: expected one of cls, mean, last, but got 'max'"):
        select_layers(model, [padded(model, TEXTS)], pooling="max")


def test_an_encoder_that_cannot_be_split_can_still_be_scored() -> None:
    """T5's encoder: its layers share a position bias, but a whole pass is all that CKA needs."""
    model = seeded(lambda: T5EncoderModel(t5()))
    selection = select_layers(model, [padded(model, TEXTS)], n=1, pooling="mean")
    assert len(selection.layers) == 1
    assert len(selection.lora_config(projections=["query"]).target_modules) == 1


def test_positions_that_padding_takes_are_not_used(tokenizer: PreTrainedTokenizerFast) -> None:
    """RoBERTa's table of 64 positions serves 62 tokens: a text of more is cut to these."""
    endless = [" ".join([text, *["and", "more"] * 50]) for text in WORDS]
    assert len(select_layers(tiny("roberta"), endless, tokenizer=tokenizer).scores) == N_LAYERS


ALBERT = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
BART = {"vocab_size": 400, "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 48}
CLIP = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
XLNET = {"vocab_size": 400, "d_model": 32, "n_layer": 3, "n_head": 4, "d_inner": 48}
REFUSED = {
    "encoder and decoder": (lambda: hf.T5Model(t5()), "T5Model, which is an encoder and a decoder; give one of them"),
    "BART": (
        lambda: hf.BartModel(hf.BartConfig(d_model=32, encoder_layers=2, decoder_layers=2)),
        "BartModel, which is",
    ),
    "images": (lambda: hf.ViTModel(hf.ViTConfig(hidden_size=36, num_hidden_layers=2)), "ViTModel, which reads pixel"),
    "shared layers": (lambda: hf.AlbertModel(hf.AlbertConfig(**ALBERT)), "AlbertModel, whose layers are shared"),
    "images and texts": (
        lambda: hf.CLIPModel(hf.CLIPConfig(text_config=CLIP, vision_config=CLIP)),
        "CLIPModel, which is made of several models; give its",
    ),
    "attentions of all layers in one list": (
        lambda: hf.XLMModel(hf.XLMConfig(emb_dim=32, n_layers=3, n_heads=4)),
        "XLMModel, whose layers are shared or not in one list",
    ),
    "layers without hooks": (
        lambda: hf.SqueezeBertModel(hf.SqueezeBertConfig(**ALBERT, embedding_size=32)),
        "called one by one, but those of SqueezeBertModel show 0 of 4 states; it cannot be scored",
    ),
    "another layout": (lambda: hf.XLNetModel(hf.XLNetConfig(**XLNET)), "those of XLNetModel pass on another shape"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_cannot_be_scored_is_refused_with_the_reason(name: str) -> None:
    """One line says what is expected and what there is."""
    make, reason = REFUSED[name]
    batch = {"input_ids": torch.ones(4, 6, dtype=torch.long), "attention_mask": torch.ones(4, 6, dtype=torch.long)}
    with pytest.raises(UserError, match=reason) as refused:
        select_layers(make().eval(), [batch], score=CKA(n=1))
    assert "\n" not in str(refused.value)


def test_what_is_no_model_of_transformers_is_refused() -> None:
    """The kind of what was given is in the line."""
    with pytest.raises(UserError, match="expected a PreTrainedModel of transformers or a PeftModel, but got Linear"):
        select_layers(torch.nn.Linear(2, 2), WORDS)


def test_a_half_of_an_encoder_decoder_is_scored() -> None:
    """As the refusal of the whole says."""
    model = seeded(lambda: hf.BartModel(hf.BartConfig(d_model=32, encoder_layers=3, decoder_layers=2, **BART)))
    assert len(select_layers(model.get_encoder(), [padded(model, TEXTS)], score=CKA(n=1)).scores) == 3
    encoder = seeded(lambda: hf.T5Model(t5())).get_encoder()
    assert len(select_layers(encoder, [padded(encoder, TEXTS)], score=CKA(n=1)).scores) == N_LAYERS


def test_a_model_that_pads_texts_to_its_window_is_scored_on_the_texts() -> None:
    """Longformer's states are longer than the batch: what is pooled are those of its own tokens."""
    sizes = bert(attention_window=8, pad_token_id=1).to_diff_dict()
    model = seeded(lambda: hf.LongformerModel(hf.LongformerConfig(**{**sizes, "attention_window": 8})))
    batch = padded(model, TEXTS)
    with torch.no_grad():
        hidden = model(**batch, output_hidden_states=True).hidden_states
    for pooling in ("cls", "mean", "last"):
        backbone = Backbone(model, None, pooling)
        reference = [backbone.pool(state, batch["attention_mask"]) for state in hidden]
        with torch.no_grad():
            torch.testing.assert_close(backbone.pooled_states(batch), torch.stack(reference), rtol=0, atol=1e-5)


def test_layers_that_give_lists_are_scored_and_split() -> None:
    """OpenAI's GPT: the states are those of the library, and each layer runs alone."""
    sizes = {"vocab_size": 400, "n_embd": 32, "n_layer": N_LAYERS, "n_head": 4, "n_positions": 64}
    model = seeded(lambda: hf.OpenAIGPTModel(hf.OpenAIGPTConfig(**sizes)))
    backbone, batch = Backbone(model, None, "last"), padded(model, TEXTS)
    with torch.no_grad():
        hidden = model(**batch, output_hidden_states=True).hidden_states
        expected = torch.stack([backbone.pool(state, batch["attention_mask"]) for state in hidden])
        torch.testing.assert_close(backbone.pooled_states(batch), expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(backbone.advance(batch, 1, hidden[1]), hidden[2], rtol=0, atol=1e-5)
    assert len(select_layers(model, [batch], score=CKA(n=1)).layers) == 1


# Models with adapters


def _adapted(name: str, trained: bool = True) -> PeftModel:
    model = get_peft_model(tiny(name), LoraConfig(r=2, target_modules="all-linear"))
    if trained:
        with torch.no_grad():
            for key, value in model.named_parameters():
                if "lora_B" in key:
                    value.normal_()
    return model


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("name", ["bert", "llama_causal"])
def test_of_a_peft_model_the_base_model_is_scored(name: str) -> None:
    """Adapters are off while it is scored, which a line says; they are as before afterwards, names are the base's."""
    expected = select_layers(tiny(name), [padded(tiny(name), TEXTS)], n=1)
    for trained in (False, True):
        model = _adapted(name, trained)
        model.requires_grad_(False)
        batch = padded(model, TEXTS)
        with torch.no_grad():
            before = model(**batch)[0]
        for given in (model, model.get_base_model()):
            with pytest.warns(UserWarning, match=r"without its adapters; merge_and_unload\(\) has them"):
                found = select_layers(given, [batch], n=1)
            assert repr(found) == repr(expected)
        with torch.no_grad():
            torch.testing.assert_close(model(**batch)[0], before, rtol=0, atol=0)
        assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.filterwarnings("ignore:select_layers:UserWarning")
def test_a_second_adapter_of_a_peft_model_stands_in_the_chosen_layers() -> None:
    """The configuration fits `add_adapter`."""
    model = _adapted("llama_causal")
    selection = select_layers(model, [padded(model, TEXTS)], n=1)
    model.add_adapter("second", selection.lora_config(r=2))
    found = {name.split(".lora_A")[0] for name, _ in model.named_modules() if name.endswith("lora_A.second")}
    assert found == {f"base_model.model.{name}" for name in selection.target_modules()}


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_merged_adapters_are_refused_and_unloaded_ones_are_part_of_the_model() -> None:
    """Merged, the pretrained weights are no longer there; unloaded, the model is a plain one that differs."""
    model = _adapted("llama_causal")
    batch = padded(model, TEXTS)
    model.merge_adapter()
    with pytest.raises(UserError, match="expected adapters beside the weights, but they are merged"):
        select_layers(model, [batch], n=1)
    model.unmerge_adapter()
    merged = select_layers(model.merge_and_unload(), [batch], n=1)
    assert merged.scores != pytest.approx(select_layers(tiny("llama_causal"), [batch], n=1).scores, abs=1e-3)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("initial", ["pissa", "pissa_niter_4", "olora"])
def test_adapters_that_have_changed_the_weights_are_refused(initial: str) -> None:
    """Switched off they leave no pretrained model; the line's way out has the very scores of the model before."""
    plain = tiny("llama_causal")
    model = get_peft_model(
        tiny("llama_causal"), LoraConfig(r=4, target_modules="all-linear", init_lora_weights=initial)
    )
    batch = padded(plain, TEXTS)
    for given in (model, model.get_base_model()):
        with pytest.raises(
            UserError, match=f"init_lora_weights='{initial}' has changed them; give the model as it was"
        ):
            select_layers(given, [batch], n=1)
    unloaded = select_layers(model.merge_and_unload(), [batch], n=1)
    assert unloaded.scores == pytest.approx(select_layers(plain, [batch], n=1).scores, abs=1e-4)


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


def test_a_model_without_weights_is_refused() -> None:
    """One on the device meta has nothing to score."""
    with torch.device("meta"):
        model = tiny("bert")
    with pytest.raises(UserError, match=r"^model: expected its weights, but got them on the device meta"):
        select_layers(model, WORDS)


def test_a_batch_without_mask_is_refused() -> None:
    """The pooling's KeyError becomes one line."""
    with pytest.raises(UserError, match="token batches with input_ids and attention_mask, but got one with input_ids"):
        select_layers(tiny("bert"), [{"input_ids": torch.ones(4, 3, dtype=torch.long)}], pooling="mean")
