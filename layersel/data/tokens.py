"""Turns texts into token ids, and token ids into padded batches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

TokenIds = list[int]


def separator_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """Returns the tokenizer's [SEP], which stands between two parts of a text; a new line where it has none."""
    return str(tokenizer.sep_token) if tokenizer.sep_token is not None else "\n"


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Returns the id used for padding; any will do where the tokenizer has none, as the mask hides it."""
    return int(tokenizer.pad_token_id) if tokenizer.pad_token_id is not None else 0


def tokenize(
    texts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None = None,
    pairs: Sequence[str] | None = None,
) -> list[TokenIds]:
    """Returns the token ids of each text with special tokens, cut to `max_length`; an empty text has at least one.

    Args:
        texts: The texts.
        tokenizer: The model's tokenizer.
        max_length: The most tokens of a text; None cuts nothing.
        pairs: The second texts of pairs: the tokenizer joins the two in its own way, and cuts the longer one first.
    """
    if not texts:
        return []
    second = [] if pairs is None else [list(pairs)]
    ids: list[TokenIds] = tokenizer(
        list(texts), *second, truncation=max_length is not None, max_length=max_length, verbose=False
    )["input_ids"]
    return [text or [pad_id(tokenizer)] for text in ids]


def collate(tokens: Sequence[TokenIds], pad: int, device: torch.device | None = None) -> dict[str, Tensor]:
    """Returns `input_ids` and `attention_mask` (both texts × longest text), padded on the right.

    Example:
        >>> collate([[5, 6, 7], [8]], pad=0)["attention_mask"].tolist()
        [[1, 1, 1], [1, 0, 0]]
    """
    width = max(len(ids) for ids in tokens)
    padded = torch.full((len(tokens), width), pad, dtype=torch.long)
    mask = torch.zeros_like(padded)
    for row, ids in enumerate(tokens):
        padded[row, : len(ids)] = torch.tensor(ids)
        mask[row, : len(ids)] = 1
    return {"input_ids": padded.to(device), "attention_mask": mask.to(device)}


def batches_by_length(lengths: Sequence[int], max_tokens: int, overhead: int = 32) -> list[list[int]]:
    """Returns all texts in the batches of like length that cost least; longest first, so that memory fails at once.

    A batch costs its padded tokens and a fixed `overhead`, in tokens. The best cut of the sorted texts is found by
    dynamic programming.

    Args:
        lengths: The tokens of each text.
        max_tokens: The most padded tokens of a batch of more than one text.
        overhead: The cost of starting a batch; small on a CPU, where padding costs more.

    Returns:
        Batches of indices.

    Example:
        >>> batches_by_length([20, 400, 30, 390], max_tokens=8192)
        [[1, 3], [2, 0]]
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    cost, cut = [0], [0]  # of the first `end` texts of `order`: least cost, and where its last batch begins
    for end in range(1, len(order) + 1):
        best, start = cost[end - 1] + lengths[order[end - 1]] + overhead, end - 1
        for begin in range(end - 2, -1, -1):
            padded = (end - begin) * lengths[order[begin]]
            if padded > max_tokens:
                break
            if cost[begin] + padded + overhead < best:
                best, start = cost[begin] + padded + overhead, begin
        cost.append(best)
        cut.append(start)
    batches: list[list[int]] = []
    end = len(order)
    while end:
        batches.append(order[cut[end] : end])
        end = cut[end]
    return batches[::-1]


def token_lengths(lengths: Sequence[int], limit: int) -> dict[str, float]:
    """Returns median, 95 % quantile and maximum of text lengths in tokens, and how many exceed `limit`.

    The first three are NaN when there is no text.

    Example:
        >>> token_lengths([10, 20, 600], limit=512)
        {'median': 20.0, 'quantile_95': 542.0, 'max': 600.0, 'truncated': 1}
    """
    if len(lengths) == 0:
        return {"median": float("nan"), "quantile_95": float("nan"), "max": float("nan"), "truncated": 0}
    median, quantile_95, longest = (float(value) for value in np.quantile(lengths, [0.5, 0.95, 1.0]))
    truncated = sum(length > limit for length in lengths)
    return {"median": median, "quantile_95": quantile_95, "max": longest, "truncated": truncated}


@dataclass(frozen=True)
class TokenizedTexts:
    """Texts and their token ids.

    Attributes:
        texts: The texts.
        tokens: Their token ids, cut to `max_length`.
        full_lengths: Their lengths in tokens before the cut.
        max_length: The most tokens of a text.
        answers: For each text, 1 where a token is a part of an answer, 0 elsewhere; empty where no text has answers.
    """

    texts: list[str]
    tokens: list[TokenIds]
    full_lengths: list[int]
    max_length: int
    answers: list[list[int]] = field(default_factory=list)

    @classmethod
    def of(cls, texts: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int) -> "TokenizedTexts":
        """Tokenises the texts uncut, for the report of their lengths, and those that are too long again."""
        return cls._of(
            texts, lambda chosen, cut: tokenize([texts[index] for index in chosen], tokenizer, cut), max_length
        )

    @classmethod
    def of_pairs(
        cls,
        texts: list[str],
        pairs: Sequence[tuple[str, str | None]],
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
    ) -> "TokenizedTexts":
        """Tokenises pairs as the tokenizer's pairs, and what has no second text alone; `texts` stand for them."""

        def ids(chosen: Sequence[int], cut: int | None) -> list[TokenIds]:
            alone = [index for index in chosen if pairs[index][1] is None]
            both = [(index, pair[0], pair[1]) for index in chosen if (pair := pairs[index])[1] is not None]
            found = dict(zip(alone, tokenize([pairs[index][0] for index in alone], tokenizer, cut), strict=True))
            joined = tokenize([own[1] for own in both], tokenizer, cut, [own[2] or "" for own in both])
            found |= dict(zip([own[0] for own in both], joined, strict=True))
            return [found[index] for index in chosen]

        return cls._of(texts, ids, max_length)

    @classmethod
    def _of(
        cls, texts: list[str], ids: Callable[[Sequence[int], int | None], list[TokenIds]], max_length: int
    ) -> "TokenizedTexts":
        tokens = ids(range(len(texts)), None)
        full = [len(own) for own in tokens]
        long = [index for index, length in enumerate(full) if length > max_length]
        for index, own in zip(long, ids(long, max_length), strict=True):
            tokens[index] = own
        return cls(texts, tokens, full, max_length)

    def lengths_line(self, chosen: Sequence[int] | None = None) -> str:
        """Returns the line on token lengths of all or some texts, and on how many of them are cut."""
        full = self.full_lengths if chosen is None else [self.full_lengths[index] for index in chosen]
        lengths = token_lengths(full, self.max_length)
        return "token lengths: " + ", ".join(f"{name} {value:.0f}" for name, value in lengths.items())
