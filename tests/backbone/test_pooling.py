"""Pooling against a loop over texts; padding has no say in it, wherever it stands."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import padded, ragged, tiny, tokenizer_without_cls
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from layersel.backbone.backbone import Backbone
from layersel.backbone.pooling import POOLINGS, pooling_named
from layersel.errors import UserError

FREE_OF_ABSOLUTE_POSITIONS = ["deberta", "modernbert", "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma3", "phi3"]
POSITIONS_FROM_PADDING = ["roberta", "mpnet"]
POSITIONS_BY_COLUMN = ["bert", "gpt2"]


def _reference(name: str, text_TD: Tensor) -> Tensor:
    """The vector of one text without padding."""
    return {"cls": text_TD[0], "mean": sum(text_TD) / len(text_TD), "last": text_TD[-1]}[name]


@pytest.mark.parametrize("name", POOLINGS)
@pytest.mark.parametrize("left", [False, True])
@settings(deadline=None, max_examples=30)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_pooling_is_that_of_each_text_alone(name: str, left: bool, lengths: list[int], seed: int) -> None:
    """On either side, padding filled with huge numbers never shows."""
    generator = torch.Generator().manual_seed(seed)
    width = max(lengths)
    hidden = torch.full((len(lengths), width, 4), 1e6)
    mask = torch.zeros(len(lengths), width, dtype=torch.long)
    texts = [torch.randn(length, 4, generator=generator) for length in lengths]
    for row, text in enumerate(texts):
        place = slice(width - len(text), width) if left else slice(0, len(text))
        hidden[row, place], mask[row, place] = text, 1
    expected = torch.stack([_reference(name, text) for text in texts])
    torch.testing.assert_close(pooling_named(name)(hidden, mask), expected)


def test_mean_of_a_text_without_tokens_is_zero_and_not_nan() -> None:
    """An all-padding row can only come from ready batches; NaN would spread through CKA."""
    hidden, mask = torch.ones(1, 3, 2), torch.zeros(1, 3, dtype=torch.long)
    assert pooling_named("mean")(hidden, mask).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("name", POOLINGS)
def test_pooling_keeps_the_dtype(name: str) -> None:
    """Under autocast the states are bfloat16 and stay so."""
    hidden, mask = torch.ones(2, 3, 4, dtype=torch.bfloat16), torch.ones(2, 3, dtype=torch.long)
    assert pooling_named(name)(hidden, mask).dtype == torch.bfloat16


def test_unknown_pooling_is_refused_with_the_known_ones() -> None:
    """The message lists what may be written."""
    with pytest.raises(UserError, match="pooling: expected one of cls, mean, last, but got 'max'"):
        Backbone(tiny("bert"), None, "max")


def test_cls_needs_a_tokenizer_with_such_a_token(tokenizer: PreTrainedTokenizerFast) -> None:
    """A decoder's first token says nothing about the text."""
    with pytest.raises(UserError, match=r"'cls' needs a \[CLS\] token.*LlamaModel.*use mean, or last"):
        Backbone(tiny("llama"), tokenizer_without_cls(), "cls")
    assert Backbone(tiny("llama"), tokenizer_without_cls(), "last").pooling == "last"
    assert Backbone(tiny("bert"), tokenizer, "cls").pooling == "cls"


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("name", FREE_OF_ABSOLUTE_POSITIONS + POSITIONS_FROM_PADDING + POSITIONS_BY_COLUMN)
def test_padding_side_does_not_change_the_vector(name: str, pooling: str) -> None:
    """Ready batches may be padded on the left; models that count columns then need `position_ids`."""
    model = tiny(name)
    right = padded(model, ragged())
    shifts = (1 - right["attention_mask"]).sum(1).tolist()
    left = {
        key: torch.stack([row.roll(shift) for row, shift in zip(rows, shifts, strict=True)])
        for key, rows in right.items()
    }
    if name in POSITIONS_BY_COLUMN:
        left["position_ids"] = (left["attention_mask"].cumsum(1) - 1).clamp(min=0)
    backbone = Backbone(model, None, pooling)
    with torch.no_grad():
        torch.testing.assert_close(backbone(left), backbone(right), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "modernbert"])
def test_companions_in_a_batch_do_not_change_the_vector(name: str, pooling: str) -> None:
    """Each text alone, unpadded, gives the row that it has in a padded batch."""
    model = tiny(name)
    backbone = Backbone(model, None, pooling)
    with torch.no_grad():
        together = backbone(padded(model, ragged()))
        alone = torch.cat([backbone(padded(model, [text])) for text in ragged()])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
