"""Turns pieces of examples into token ids, and says which of them are to be predicted."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, takewhile

from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from layersel.data.tokens import TokenIds, TokenizedTexts
from layersel.errors import UserError
from layersel.tasks.causal_lm.templates import Piece


def tokenized(
    examples: Sequence[Sequence[Piece]], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> TokenizedTexts:
    """Returns the token ids of the examples, whose pieces are tokenised together, as transformers does.

    A token is to be predicted if it has a character of an answer, and may be left out if all its characters may. Of an
    example that is too long is left what `_fitted` says.

    Raises:
        UserError: Of some example no token that is to be predicted would be left.
    """
    tokens, answers, lengths = [], [], []
    for pieces, parts in zip(examples, _parts(examples, tokenizer), strict=True):
        lengths.append(sum(map(len, parts)))
        kept = _fitted(pieces, parts, max_length)
        tokens.append([token for ids in kept for token in ids])
        answers.append([int(piece.answer) for piece, ids in zip(pieces, kept, strict=True) for _ in ids])
    empty = sum(not any(marks[1:]) for marks in answers)
    if empty:
        raise UserError(
            f"model.max_length: {empty} of {len(examples)} examples have no token to predict within {max_length} "
            "tokens; raise it, or leave these examples out"
        )
    texts = ["".join(piece.text for piece in pieces) for pieces in examples]
    return TokenizedTexts(texts, tokens, lengths, max_length, answers)


def cuts(
    examples: Sequence[Sequence[Piece]], lengths: Sequence[int], max_length: int, tokenizer: PreTrainedTokenizerBase
) -> Counter[str]:
    """Counts of how many examples, of these lengths in tokens, something is left out, by what that is."""
    long = [pieces for pieces, length in zip(examples, lengths, strict=True) if length > max_length]
    found: Counter[str] = Counter()
    for pieces, parts in zip(long, _parts(long, tokenizer), strict=True):
        kept = _fitted(pieces, parts, max_length)
        end = _first_turn(pieces)
        lost = [place for place, (whole, own) in enumerate(zip(parts, kept, strict=True)) if len(own) < len(whole)]
        found["whose prompt ends early"] += any(pieces[place].yields for place in lost if place < end)
        found["whose answer ends early"] += any(pieces[place].answer for place in lost if place < end)
        found["without later turns"] += any(place >= end for place in lost)
    return +found


def answer_ends(texts: TokenizedTexts, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Returns the special tokens, ascending, that end the answers in `texts`: the tokenizer's own, or a template's."""
    special = {token for token, own in tokenizer.added_tokens_decoder.items() if own.special}
    last = {ids[-1] for ids, marks in zip(texts.tokens, texts.answers, strict=True) if marks[-1]}
    return sorted(special & last)


def prompts(examples: Sequence[Sequence[Piece]], max_length: int, tokenizer: PreTrainedTokenizerBase) -> list[TokenIds]:
    """Returns what stands before each example's first answer, tokenised without it, as it is when a model answers.

    What is asked is as long as it is where the example, with its answer, has `max_length` tokens.
    """
    before = [_before_answers(pieces) for pieces in examples]
    found = []
    for pieces, parts, alone in zip(examples, _parts(examples, tokenizer), _parts(before, tokenizer), strict=True):
        kept = _fitted(pieces, parts, max_length)
        lost = [len(whole) - len(own) for whole, own in zip(parts, kept, strict=True)]
        found.append([token for ids, less in zip(alone, lost, strict=False) for token in ids[: len(ids) - less]])
    return found


def _parts(examples: Sequence[Sequence[Piece]], tokenizer: PreTrainedTokenizerBase) -> list[list[TokenIds]]:
    """Returns the ids of each piece of each example, without tokens that the tokenizer would add around a text.

    What stands before the first answer has the tokens that it has without the answer, as it is asked, unless a token
    crosses into the answer. A tokenizer that does not tell which characters a token is made of has each piece on its
    own.
    """
    if not examples:
        return []
    joins = isinstance(tokenizer, PreTrainedTokenizerFast)
    runs = [_runs(pieces, joins) for pieces in examples]
    asked = [[_before_answers(run) for run in own] for own in runs]
    texts = list(dict.fromkeys(_text(run) for several in (runs, asked) for own in several for run in own))
    found = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=joins, verbose=False)
    spans = found["offset_mapping"] if joins else [()] * len(texts)
    known = {text: own for text, *own in zip(texts, found["input_ids"], spans, strict=True)}
    parts: list[list[TokenIds]] = []
    for example in zip(runs, asked, strict=True):
        parts.append([])
        for run, before in zip(*example, strict=True):
            divided, crosses = _divided(run, *known[_text(run)])
            alone = [] if crosses else _divided(before, *known[_text(before)])[0]
            parts[-1] += [*alone, *divided[len(alone) :]]
    return parts


def _runs(pieces: Sequence[Piece], joins: bool) -> list[list[Piece]]:
    """Returns the pieces in those runs that are tokenised together."""
    runs: list[list[Piece]] = []
    for piece in pieces:
        if joins and runs and not runs[-1][-1].alone:
            runs[-1].append(piece)
        else:
            runs.append([piece])
    return runs


def _before_answers(pieces: Sequence[Piece]) -> list[Piece]:
    return list(takewhile(lambda piece: not piece.answer, pieces))


def _text(pieces: Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def _divided(run: Sequence[Piece], ids: TokenIds, spans: Sequence[tuple[int, int]]) -> tuple[list[TokenIds], bool]:
    """Returns the ids of each piece of a run, and whether a token crosses from what is asked into the first answer.

    A token of several pieces goes to an answer if one is among them, else to one that never loses its end, if there is
    one.

    Args:
        run: The pieces that are tokenised together.
        ids: Their tokens.
        spans: The characters from and before which each token is made; not needed for a single piece.
    """
    if len(run) < 2:
        return [ids] * len(run), False
    ends = list(accumulate(len(piece.text) for piece in run))
    parts: list[TokenIds] = [[] for _ in run]
    answer = len(_before_answers(run))
    reached, crosses = 0, False
    for token, (start, end) in zip(ids, spans, strict=True):
        first = min(start, reached, ends[-1] - 1)  # some tokenizers leave spaces out of a token's span
        reached = end
        places = range(bisect_right(ends, first), bisect_left(ends, max(end, first + 1)) + 1)
        own = max((place for place in places if run[place].text), key=lambda at: (run[at].answer, not run[at].yields))
        parts[own].append(token)
        crosses |= places[0] < answer <= own
    return parts, crosses


def _fitted(pieces: Sequence[Piece], parts: Sequence[TokenIds], max_length: int) -> list[TokenIds]:
    """Returns the pieces' ids that are left where an example has no more than `max_length` tokens.

    A conversation ends with the last turn that fits. Where not even the first one does, what is asked there loses its
    end, but keeps a quarter of the room beside its frame if it has as much; what is too long then ends early.
    """
    ends = [0, *accumulate(map(len, parts))]
    if ends[-1] <= max_length:
        return list(parts)
    fits = [place for place, piece in enumerate(pieces, 1) if piece.answer and ends[place] <= max_length]
    if fits:
        return [*parts[: fits[-1]], *([] for _ in parts[fits[-1] :])]
    first = _first_turn(pieces)
    excess = ends[first] - max_length
    frame = sum(
        len(ids) for piece, ids in zip(pieces[:first], parts, strict=False) if not (piece.yields or piece.answer)
    )
    least, kept, left = max(max_length - frame, 0) // 4, [], max_length
    for place, (piece, ids) in enumerate(zip(pieces, parts, strict=True)):
        cut = max(0, min(excess, len(ids) - least)) if piece.yields else 0
        excess -= cut
        kept.append(ids[: min(len(ids) - cut, left)] if place < first else [])
        left -= len(kept[-1])
    return kept


def _first_turn(pieces: Sequence[Piece]) -> int:
    """Returns the number of pieces up to the first answer, that one included."""
    return min(len(_before_answers(pieces)) + 1, len(pieces))
