"""Sample answers are the likeliest tokens, one by one, up to one that ends an answer."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from models import CHAT, LANGUAGE_MODELS, decoder_tokenizer, seeded
from transformers import GenerationConfig, PreTrainedModel

from layersel.backbone.backbone import Backbone
from layersel.backbone.prefix import PrefixCache
from layersel.data.texts.examples import Example, TextDataset
from layersel.data.tokens import TokenIds
from layersel.tasks.causal_lm.options import CausalLM
from layersel.tasks.causal_lm.samples import answered
from layersel.tasks.problem import Subject

PROMPT = [7, 9, 30, 44, 9]
NEW = 12


def likeliest(model: PreTrainedModel, prompt: TokenIds, *stops: int) -> TokenIds:
    """The answer by a loop over the model's own logits."""
    ids = list(prompt)
    while len(ids) < len(prompt) + NEW and (len(ids) == len(prompt) or ids[-1] not in stops):
        with torch.no_grad():
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize(
    "options",
    [
        {"repetition_penalty": 3.0},
        {"no_repeat_ngram_size": 2},
        {"min_new_tokens": NEW, "suppress_tokens": [352]},
        {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20},
        {"num_beams": 3, "num_return_sequences": 2},
    ],
    ids=lambda options: next(iter(options)),
)
def test_answers_are_greedy_whatever_the_model_comes_with(options: dict[str, Any]) -> None:
    """Qwen's instruction-tuned models have a penalty for repetitions, others sample; theirs is kept for their users."""
    model = seeded(LANGUAGE_MODELS["llama"])
    model.generation_config = own = GenerationConfig(eos_token_id=[3], pad_token_id=0, **options)
    found = answered(Backbone(model, decoder_tokenizer(), "last"), [PROMPT], [], NEW, "answering")
    expected = likeliest(model, PROMPT, 3)
    assert len(set(expected)) < len(expected) == NEW  # else a penalty would change nothing
    assert found.tolist() == [expected]
    assert model.generation_config is own


@pytest.mark.parametrize("of_the_model", [None, 3, [3, 1], 0])
def test_answers_stop_at_every_end(of_the_model: int | list[int] | None) -> None:
    """The end that was learnt, beside that of the model, which may be 0, and that of the tokenizer."""
    model = seeded(LANGUAGE_MODELS["llama"])
    model.generation_config = GenerationConfig(eos_token_id=of_the_model)
    backbone = Backbone(model, decoder_tokenizer(), "last")
    whole = likeliest(model, PROMPT)
    end = whole[2]
    found = answered(backbone, [PROMPT], [end], NEW, "answering")[0].tolist()
    assert found == whole[: whole.index(end) + 1] + [-1] * (NEW - whole.index(end) - 1)
    model.generation_config = GenerationConfig(eos_token_id=end)
    assert answered(backbone, [PROMPT], [], NEW, "answering")[0].tolist() == found


def test_a_sample_ends_where_the_templates_answers_do() -> None:
    """The template ends a turn with another token than the tokenizer's own: a base model would go on behind it."""
    tokenizer = decoder_tokenizer(template=CHAT.replace("<|end|>", "<s>"))
    model = seeded(LANGUAGE_MODELS["llama"])
    direction = torch.randn(32, generator=torch.Generator().manual_seed(6))
    with torch.no_grad():  # it says these two tokens only, by the sign of their logits
        model.lm_head.weight[:] = 0
        model.lm_head.weight[[2, 40]] = torch.stack([direction, -direction])
    rows = tuple(Example(prompt=f"What is {number}?", response="It is.") for number in range(9))
    problem = CausalLM(new_tokens=NEW, samples=6, test=6).problem(TextDataset("toy", rows), 0)
    backbone, texts = Backbone(model, tokenizer, "last"), problem.tokenized(tokenizer, 64)
    subject = Subject(backbone, texts, PrefixCache(backbone, texts.tokens, 0, 0), nullcontext, "base")
    samples = problem.judge(subject).samples
    asked = [tokenizer(sample["prompt"])["input_ids"] for sample in samples]
    longer, said = (
        [tokenizer.decode(likeliest(model, ids, *stops), skip_special_tokens=True).strip() for ids in asked]
        for stops in ([], [2])
    )
    assert [sample["answered"] for sample in samples] == said != longer
