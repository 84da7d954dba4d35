"""What a model answers to a few prompts."""

import sys
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from layersel.backbone.backbone import Backbone
from layersel.backbone.loading import positions
from layersel.backbone.modes import evaluating
from layersel.data.tokens import TokenIds, pad_id
from layersel.terminal.progress import progress

NOTHING = -1
"""Stands in a row of token ids behind the end of the answer."""


def answered(
    backbone: Backbone, prompts: Sequence[TokenIds], ends: Collection[int], new_tokens: int, what: str
) -> Tensor:
    """Returns the likeliest next tokens (prompts × `new_tokens`), one by one, up to the one that ends the answer.

    They are the likeliest whatever penalties the model comes with. An answer ends earlier where the model has no
    position for a further token.

    They are computed in the format of the weights: with one token at a time, casting these to half precision takes
    longer than what is gained.

    Args:
        backbone: Its model, with a head, answers in evaluation mode.
        prompts: Token ids of what is asked.
        ends: The tokens that end the answers that the model has learnt from; its own and the tokenizer's do so too.
        new_tokens: The most tokens of an answer.
        what: The name of the progress bar.
    """
    tokenizer = backbone.tokenizer
    if tokenizer is None:
        raise RuntimeError("a pretrained model is loaded with its tokenizer")
    model = backbone.model
    own = model.generation_config
    theirs = own.eos_token_id if isinstance(own.eos_token_id, list) else [own.eos_token_id]
    stops = sorted({*ends, *theirs, tokenizer.eos_token_id} - {None})
    greedy = GenerationConfig(do_sample=False, eos_token_id=stops or None, pad_token_id=pad_id(tokenizer))
    most = positions(model, sys.maxsize)
    answers = torch.full((len(prompts), new_tokens), NOTHING)
    model.generation_config = GenerationConfig()  # generate() takes from it what `greedy` leaves open
    try:
        with evaluating(backbone), torch.autocast(backbone.device.type, enabled=False):
            for row, prompt in enumerate(progress(prompts, what)):
                greedy.max_new_tokens = min(new_tokens, most - len(prompt))
                if greedy.max_new_tokens < 1:
                    continue
                ids = torch.tensor([prompt], device=backbone.device)
                given: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
                answer = model.generate(**given, generation_config=greedy)[0, len(prompt) :].cpu()
                answers[row, : len(answer)] = answer
    finally:
        model.generation_config = own
    return answers


def words(backbone: Backbone, answers: Tensor) -> list[str]:
    """Returns the answers, rows of token ids, as they are read."""
    if backbone.tokenizer is None:
        raise RuntimeError("a pretrained model is loaded with its tokenizer")
    rows = [[token for token in row if token != NOTHING] for row in answers.tolist()]
    return [text.strip() for text in backbone.tokenizer.batch_decode(rows, skip_special_tokens=True)]
