"""Recognises which columns hold texts and labels, prompts and responses, or conversations, by their usual names."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from layersel.data.header import Wanted
from layersel.data.identifiers import squash
from layersel.data.texts.rows import listed
from layersel.errors import UserError

TEXT, PROMPT, MESSAGES = "text", "prompt", "messages"
FORMS = (TEXT, PROMPT, MESSAGES)

ROLES = {
    TEXT: ("text", "pair", "label"),
    PROMPT: ("prompt", "input", "response"),
    MESSAGES: ("messages",),
}
"""Form of a row → what its columns hold."""

_WHAT = {TEXT: "texts", PROMPT: "prompts with responses", MESSAGES: "conversations"}
_NEEDED = {TEXT: ("text",), PROMPT: ("prompt", "response"), MESSAGES: ("messages",)}

# squashed names
_NAMES = {
    "text": ("text", "sentence", "content", "document", "passage", "body", "comment", "tweet", "utterance", "review"),
    "label": ("label", "labels", "class", "category", "target", "sentiment", "intent", "emotion", "score", "rating"),
    "prompt": ("prompt", "instruction", "question", "query"),
    "input": ("input", "context"),
    "response": ("response", "output", "answer", "completion"),
    "messages": ("messages", "conversations", "conversation"),
    "split": ("split",),
}

_TWO_TEXTS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("text1", "text2"),
    ("sentencea", "sentenceb"),
    ("texta", "textb"),
    ("question", "sentence"),
)


@dataclass(frozen=True, slots=True)
class TextColumns:
    """What the columns of a file hold.

    Attributes:
        form: `text`, `prompt` (with a response) or `messages`.
        roles: The column of each role that the file has.
    """

    form: str
    roles: dict[str, str]


def recognise_columns(
    columns: Sequence[str], chosen: Mapping[str, str | None], forms: Collection[str] = FORMS
) -> TextColumns:
    """Returns the form of the rows, and the column of each of its roles.

    Args:
        columns: All column names.
        chosen: Role → column named by the user; None or absent: it is recognised by its name.
        forms: Those that are looked for.

    Raises:
        UserError: A chosen column is not there, none fits, or more than one does.

    Example:
        >>> recognise_columns(["id", "Premise", "Hypothesis", "label"], {}).roles
        {'text': 'Premise', 'pair': 'Hypothesis', 'label': 'label'}
    """
    named = {role: _named(role, name, columns) for role, name in chosen.items() if name is not None}
    wanted = [form for form in FORMS if form in forms and (set(named) & set(ROLES[form]))] or list(forms)
    found = {form: _candidates(form, columns, named) for form in wanted}
    complete = [form for form in wanted if all(found[form].get(role) for role in _NEEDED[form])]
    if not complete:
        raise _nothing_fits(wanted, found, columns)
    if len(complete) > 1:
        options = ", ".join(f"data.{role}_column" for form in complete for role in _NEEDED[form])
        fit = " and ".join(_WHAT[form] for form in complete)
        raise UserError(f"data: {listed(columns)} fit {fit}; name those to read by {options}")
    candidates = found[complete[0]]
    for role, own in candidates.items():
        if len(own) > 1:
            raise UserError(
                f"data.{role}_column: expected one column, but {' and '.join(map(repr, own))} may be it; "
                f"name one of {listed(columns)}"
            )
    return TextColumns(complete[0], {role: own[0] for role, own in candidates.items() if own})


def columns_wanted(chosen: Mapping[str, str | None]) -> Wanted:
    """Returns the function that knows a header: by the columns that the user has named, else by usual names."""
    named = {squash(name) for name in chosen.values() if name is not None}
    usual = {name for names in _NAMES.values() for name in names} | {name for two in _TWO_TEXTS for name in two}

    def wanted(names: Sequence[str]) -> bool:
        squashed = {squash(name) for name in names}
        return named <= squashed if named else bool(usual & squashed)

    return wanted


def _candidates(form: str, columns: Sequence[str], named: Mapping[str, str]) -> dict[str, list[str]]:
    """Returns the columns that may have each role of a form; a column that is named for one role has no other."""
    free = [column for column in columns if column not in named.values()]
    found = {role: [named[role]] if role in named else _usual(role, free) for role in (*ROLES[form], "split")}
    if form == TEXT and not {"text", "pair"} & set(named):
        found |= _two_texts(free, found["text"])
    if form == PROMPT and not found["prompt"]:  # `input` is what the prompt is about only beside one
        found |= {"prompt": [column for column in found["input"] if squash(column) == "input"], "input": []}
    return found


def _usual(role: str, columns: Sequence[str]) -> list[str]:
    return [column for column in columns if squash(column) in _NAMES.get(role, ())]


def _two_texts(columns: Sequence[str], single: Sequence[str]) -> dict[str, list[str]]:
    """Returns the candidates for a text and the second one beside it, if two columns are called so."""
    by_name = {squash(column): column for column in columns}
    for one, other in _TWO_TEXTS:
        if one in by_name and other in by_name:
            first, second = by_name[one], by_name[other]
            return {"text": [first, *(own for own in single if own not in (first, second))], "pair": [second]}
    return {}


def _named(role: str, name: str, columns: Sequence[str]) -> str:
    alike = [column for column in columns if squash(column) == squash(name)]
    if name in columns or not alike:
        alike = [column for column in columns if column == name]
    if not alike:
        raise UserError(f"data.{role}_column: expected one of {listed(columns)}, but got {name!r}")
    return alike[0]


def _nothing_fits(
    wanted: Sequence[str], found: Mapping[str, Mapping[str, list[str]]], columns: Sequence[str]
) -> UserError:
    """Returns the line for columns of which none, or only a part of what is needed, was found."""
    begun = [form for form in wanted if any(found[form].get(role) for role in _NEEDED[form])]
    if not begun and len(wanted) > 1:
        what = ", or ".join(_WHAT[form] for form in wanted)
        options = ", ".join(f"data.{role}_column" for form in wanted for role in _NEEDED[form])
        return UserError(f"data: expected columns with {what}, but found {listed(columns)}; name them by {options}")
    form = (begun or wanted)[0]
    missing = next(role for role in _NEEDED[form] if not found[form].get(role))
    return UserError(
        f"data.{missing}_column: expected a column for it, as the data are to be {_WHAT[form]}, but found "
        f"{listed(columns)}; name it"
    )
