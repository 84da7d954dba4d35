"""Turns pieces of examples into token ids, and says which of them are to be predicted."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from layersel.data.tokens import TokenIds, TokenizedTexts
from layersel.errors import UserError
from layersel.tasks.causal_lm.templates import Piece


def tokenized(
    examples: Sequence[Sequence[Piece]], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> TokenizedTexts:
    """Returns the token ids of the examples, each piece tokenised on its own, as it is when a model answers.

    Where an example is too long, what is asked loses its end, and what still is too long ends early.

    Raises:
        UserError: Of some example no token that is to be predicted would be left.
    """
    known = _ids([piece.text for pieces in examples for piece in pieces], tokenizer)
    tokens, answers, lengths = [], [], []
    for pieces in examples:
        parts = [known[piece.text] for piece in pieces]
        lengths.append(sum(map(len, parts)))
        shorter = _shortened(parts, [piece.yields for piece in pieces], lengths[-1] - max_length)
        tokens.append([token for ids in shorter for token in ids][:max_length])
        marks = [int(piece.answer) for piece, ids in zip(pieces, shorter, strict=True) for _ in ids]
        answers.append(marks[:max_length])
    empty = sum(not any(marks[1:]) for marks in answers)
    if empty:
        raise UserError(
            f"model.max_length: {empty} of {len(examples)} examples have no token to predict within {max_length} "
            "tokens; raise it, or leave these examples out"
        )
    texts = ["".join(piece.text for piece in pieces) for pieces in examples]
    return TokenizedTexts(texts, tokens, lengths, max_length, answers)


def cut_answers(examples: Sequence[Sequence[Piece]], texts: TokenizedTexts, tokenizer: PreTrainedTokenizerBase) -> int:
    """Returns of how many of the examples, tokenised in `texts`, the end is left out, beyond what is asked."""
    measured = zip(examples, texts.full_lengths, strict=True)
    long = [[piece for piece in pieces if not piece.yields] for pieces, length in measured if length > texts.max_length]
    known = _ids([piece.text for pieces in long for piece in pieces], tokenizer) if long else {}
    return sum(sum(len(known[piece.text]) for piece in pieces) > texts.max_length for pieces in long)


def prompt_of(tokens: TokenIds, answers: Sequence[int]) -> TokenIds:
    """Returns what stands before the first token that is to be predicted."""
    return tokens[: answers.index(1)]


def _ids(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> dict[str, TokenIds]:
    """Returns the ids of each distinct text, without tokens that the tokenizer would add around it."""
    distinct = list(dict.fromkeys(texts))
    ids: list[TokenIds] = tokenizer(distinct, add_special_tokens=False, verbose=False)["input_ids"]
    return dict(zip(distinct, ids, strict=True))


def _shortened(parts: Sequence[TokenIds], yields: Sequence[bool], excess: int) -> list[TokenIds]:
    """Returns the parts without the last `excess` tokens of those that yield, from the first of them on."""
    shorter = []
    for ids, gives in zip(parts, yields, strict=True):
        cut = min(max(excess, 0), len(ids)) if gives else 0
        shorter.append(ids[: len(ids) - cut])
        excess -= cut
    return shorter
