"""The options that name columns, which all sources of texts share that read tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

from layersel.data.texts.assemble import Part, assemble
from layersel.data.texts.columns import FORMS, MESSAGES, PROMPT, ROLES
from layersel.data.texts.examples import TextDataset
from layersel.data.texts.labels import KINDS
from layersel.errors import one_of

_COLUMN = "_column"


@dataclass
class AnswerColumnOptions:
    """The columns of prompts with responses, or of conversations."""

    forms: ClassVar[Sequence[str]] = (PROMPT, MESSAGES)
    """What the rows may be."""

    prompt_column: str | None = None
    """Column with what is asked; null: prompt, instruction, question, query or input, whichever is there."""

    input_column: str | None = None
    """Column with what the prompt is about, which follows it after an empty line; null: input or context."""

    response_column: str | None = None
    """Column with what is to be answered; null: response, output, answer or completion."""

    messages_column: str | None = None
    """Column with conversations, lists of role and content or of from and value; null: messages or conversations."""

    split_column: str | None = None
    """Column that says train, validation or test; null: split, if its values are such."""

    def columns(self) -> Mapping[str, str | None]:
        """Returns role → column as named by the options."""
        names = [own.name for own in fields(self) if own.name.endswith(_COLUMN)]
        return {name.removesuffix(_COLUMN): getattr(self, name) for name in names}

    def column_problems(self) -> list[str]:
        """Returns a line if columns of different forms are named."""
        named = [
            [f"data.{role}_column" for role in ROLES[form] if self.columns().get(role) is not None] for form in FORMS
        ]
        chosen = [options[0] for options in named if options]
        if len(chosen) > 1:
            return [f"{chosen[0]} contradicts {chosen[1]}: a row is a text, a prompt or a conversation; leave one out"]
        return []

    def dataset(self, name: str, parts: Sequence[Part]) -> TextDataset:
        """Returns the dataset of these rows."""
        return assemble(name, parts, self.columns(), self.forms)


@dataclass
class TextColumnOptions(AnswerColumnOptions):
    """The columns of texts with their labels, of prompts with responses, or of conversations."""

    forms: ClassVar[Sequence[str]] = FORMS
    """What the rows may be."""

    text_column: str | None = None
    """Column with the texts; null: text, sentence, document, …, or sentence1, premise, question1, … of two."""

    pair_column: str | None = None
    """Column with the second text of two; null: sentence2 beside sentence1, hypothesis beside premise, …"""

    label_column: str | None = None
    """Column with the labels; null: label, class, category, sentiment, score, …, whichever is there."""

    labels: str = "auto"
    """What labels are: `classes`, `numbers`, or `auto`: numbers if one is not whole or they are too many."""

    def column_problems(self) -> list[str]:
        """Returns a line if columns of different forms are named, and for a kind of labels that there is none of."""
        known = self.labels in KINDS
        return super().column_problems() + ([] if known else [str(one_of("data.labels", self.labels, KINDS))])

    def dataset(self, name: str, parts: Sequence[Part]) -> TextDataset:
        """Returns the dataset of these rows."""
        return assemble(name, parts, self.columns(), self.forms, self.labels)
