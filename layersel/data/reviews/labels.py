"""Screening decisions as people and screening tools write them."""

import re
from collections.abc import Iterable

from layersel.errors import UserError

MAYBE = ("unlabelled", "included", "excluded")
CONFLICT = "conflict"
"""What readers write where several decisions stand in the notes of one record."""

_INCLUDED = ("1", "1.0", "true", "yes", "y", "include", "included", "relevant", "accept", "accepted", "extraction")
_EXCLUDED = (
    *("0", "0.0", "false", "no", "n", "exclude", "excluded", "irrelevant", "not relevant"),
    *("reject", "rejected"),
)
_EMPTY = ("", "-1", "-1.0", "nan", "na", "n/a", "<na>", "none", "null", "not_seen", "not seen", "unlabelled")
_UNDECIDED = (
    *("undecided", "unscreened", "not screened", "pending", CONFLICT, "duplicate", "awaiting classification"),
    *("screen", "title and abstract screening", "select", "full text review", "full text screening"),
)
_MAYBE = ("maybe", "unclear", "uncertain", "unsure")

_MEANING: dict[str, int | None] = {
    **dict.fromkeys(_INCLUDED, 1),
    **dict.fromkeys(_EXCLUDED, 0),
    **dict.fromkeys((*_EMPTY, *_UNDECIDED), None),
}
_VOTE = re.compile(r'"(?:[^"\\]|\\.)*"\s*(?:=>|:)\s*"((?:[^"\\]|\\.)*)"')
_RAYYAN = re.compile(r"RAYYAN-INCLUSION:([^|}]*)")


def parse_label(value: str, where: str, maybe: str = "unlabelled") -> int | None:
    """Returns 1 for included, 0 for excluded, None for not labelled.

    Args:
        value: What the file has.
        where: Its row and column, for the error.
        maybe: What a decision for "maybe" counts as: `unlabelled`, `included` or `excluded`.

    Raises:
        UserError: The value is none of those known.

    Example:
        >>> [parse_label(value, "row 1") for value in ("Included", "0.0", "NaN", "maybe")]
        [1, 0, None, None]
    """
    word = _word(value)
    if word in _MAYBE:
        return _MEANING[maybe]
    try:
        return _MEANING[word]
    except KeyError:
        raise UserError(
            f"{where}: expected 1/0, true/false, yes/no, included/excluded, relevant/irrelevant, maybe, empty or -1 "
            f"(no label), but got {value!r}; correct it or name another column with data.label_column"
        ) from None


def is_empty_label(value: str) -> bool:
    """Returns whether nothing was decided: neither for, against nor open."""
    return _word(value) in _EMPTY


def is_maybe(value: str) -> bool:
    """Returns whether the decision is "maybe"."""
    return _word(value) in _MAYBE


def open_decision(value: str) -> str:
    """Returns the decision, in lower case, if it is neither for nor against, but one; nothing for any other.

    Example:
        >>> open_decision("Duplicate"), open_decision("maybe"), open_decision("no"), open_decision("-1")
        ('duplicate', 'maybe', '', '')
    """
    word = _word(value)
    return word if word in (*_UNDECIDED, *_MAYBE) else ""


def all_decisions(values: Iterable[str]) -> bool | None:
    """Returns whether these values are all decisions; None if nothing was decided in any.

    Example:
        >>> all_decisions(["Yes", "", "maybe"]), all_decisions(["Published", "no"]), all_decisions(["", "NA"])
        (True, False, None)
    """
    decided = None
    for value in values:
        word = _word(value)
        if word in _EMPTY:
            continue
        if word not in _MEANING and word not in _MAYBE:
            return False
        decided = True
    return decided


def odd_decision(values: Iterable[str]) -> tuple[int, str] | None:
    """Returns the place and the text of the first value that is no decision, where most of them are; None elsewhere.

    Example:
        >>> odd_decision(["include", "", "exclude", "inlcude"]), odd_decision(["Published", "no"])
        ((3, 'inlcude'), None)
    """
    filled = [(place, value) for place, value in enumerate(values) if _word(value) not in _EMPTY]
    odd = [own for own in filled if _word(own[1]) not in _MEANING and not is_maybe(own[1])]
    return odd[0] if 0 < 2 * len(odd) < len(filled) else None


def rayyan_decision(notes: str) -> str:
    """Returns the decision in Rayyan's notes, `conflict` where reviewers disagree, nothing where none has decided.

    Example:
        >>> rayyan_decision('RAYYAN-INCLUSION: {"Ada"=>"Included"} | RAYYAN-LABELS: veterans')
        'Included'
        >>> rayyan_decision('RAYYAN-INCLUSION: {"Ada"=>"Included", "Bo"=>"Excluded"}')
        'conflict'
    """
    plain = re.sub("[\u201c\u201d]", '"', notes)
    votes = {vote for found in _RAYYAN.finditer(plain) for vote in _VOTE.findall(found[1])}
    if len(votes) > 1:
        return CONFLICT
    return votes.pop() if votes else ""


def _word(value: str) -> str:
    if re.fullmatch(r"\s*-\s*1(?:\.0)?\s*", value):
        return "-1"
    return " ".join(re.sub(r"[\s-]+", " ", value).split()).lower()
