"""The embedded datasets to classify: four questions about the 300 records of the embedded review."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from layersel.data.reviews.demo import Demo
from layersel.data.reviews.records import Record
from layersel.data.texts.examples import Example, TextDataset
from layersel.data.texts.source import LabelledSource
from layersel.errors import one_of

_END = re.compile(r"(?<=[.?!])\s+(?=[A-Z])")
_SHORTEST = 40
"""The fewest characters of a sentence: shorter ones are headings or abbreviations."""
# What would give a label away without a look at what a text says
_NOTICE = re.compile(
    r"\s*(\(PsycINFO|\(copyright\)|\(c\)|©|Copyright\b|\(journal abstract).*", re.IGNORECASE | re.DOTALL
)
_HEADING = re.compile(r"^[A-Z][A-Za-z/&-]+( [A-Za-z/&-]+){0,3}:\s*")


def inclusion(records: Sequence[Record]) -> Iterator[Example]:
    """Yields title and abstract of each record with what the reviewers decided on its full text."""
    for own in records:
        first, second = (own.title, own.abstract) if own.title else (own.abstract, "")
        yield Example(text=first, pair=second or None, label="included" if own.label else "excluded")


def place(records: Sequence[Record]) -> Iterator[Example]:
    """Yields the first or the last sentence of each abstract of four or more, in turn, without headings and notices.

    Of an abstract there is one sentence only: with both, what it is about would tell a sentence from the other one.
    """
    openings = True
    for own in records:
        parts = [_HEADING.sub("", text) for text in _END.split(_NOTICE.sub("", own.abstract or ""))]
        sentences = [text for text in parts if len(text) >= _SHORTEST]
        if len(sentences) >= 4:
            yield Example(text=sentences[0 if openings else -1], label="opening" if openings else "closing")
            openings = not openings


def matching(records: Sequence[Record]) -> Iterator[Example]:
    """Yields each title with an abstract, in turn with its own and with that of the last record that lacks it.

    Each title and each abstract is there once: a second time would tell that the first was the other way round.
    """
    whole = [own for own in records if own.title and own.abstract]
    others = whole[1::2]
    for index, own in enumerate(whole):
        other = others[index // 2 - 1]
        yield Example(
            text=own.title, pair=(other if index % 2 else own).abstract, label="other" if index % 2 else "same"
        )


def year(records: Sequence[Record]) -> Iterator[Example]:
    """Yields title and abstract of each record with the year in which it appeared, which a notice would tell."""
    for own in records:
        written = own.fields.get("year", "")
        if written.isdigit() and own.title:
            yield Example(text=own.title, pair=_NOTICE.sub("", own.abstract or "") or None, label=float(written))


_QUESTIONS: dict[str, tuple[Callable[[Sequence[Record]], Iterator[Example]], tuple[str, ...], tuple[str, ...]]] = {
    "inclusion": (inclusion, ("excluded", "included"), ("f1", "matthews")),
    "place": (place, ("opening", "closing"), ("accuracy",)),
    "matching": (matching, ("other", "same"), ("accuracy",)),
    "year": (year, (), ("spearman", "pearson")),
}
"""For each question what makes its examples, its classes, and its metrics."""


@dataclass
class Embedded(LabelledSource):
    """Part of van de Schoot et al. 2017 (CC BY 4.0, doi 10.17605/OSF.IO/VK4BE); repeated records are left out.

    Example:
        >>> Embedded("place").load().examples[0].label
        'opening'
    """

    question: str = "inclusion"
    """What is asked: inclusion (of a record in the review), place (of a sentence in its abstract), matching (of a title
    and an abstract: pairs), or year (of publication: a number)."""

    named_by: ClassVar[str | None] = "question"

    @property
    def name(self) -> str:
        """The name that reports use for the dataset."""
        return self.question

    def problems(self) -> list[str]:
        """Returns a line if the question is not one of them."""
        return [] if self.question in _QUESTIONS else [str(one_of("data.question", self.question, _QUESTIONS))]

    def load(self) -> TextDataset:
        """Returns the examples."""
        make, classes, metrics = _QUESTIONS[self.question]
        return TextDataset(self.name, tuple(make(Demo(duplicates="drop").load().records)), (), classes, metrics)
