"""One row of a dataset of texts, and the dataset."""

from dataclasses import dataclass

from layersel.data.source import Dataset
from layersel.runs.fingerprints import fingerprint
from layersel.terminal.tables import counted

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: `system`, `user` or `assistant`.
        content: What is said.
    """

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Example:
    """One row: a text or a pair of them to classify, a prompt with its response, a conversation, or a plain text.

    Attributes:
        text: The text, or the first one of a pair; None in a row with a prompt or a conversation.
        pair: The second text of a pair.
        label: The name of a class, or a number; None where unknown.
        prompt: What is asked; the response follows it.
        response: What is to be answered.
        messages: A conversation; what the assistant says is to be answered.
        split: `train`, `validation` or `test`; None where the data do not say, so that the task draws it.
        goes_on: Whether it is a passage of a longer text that others follow, so that the text does not end with it.
    """

    text: str | None = None
    pair: str | None = None
    label: str | float | None = None
    prompt: str | None = None
    response: str | None = None
    messages: tuple[Message, ...] = ()
    split: str | None = None
    goes_on: bool = False

    @property
    def to_classify(self) -> bool:
        """Returns whether the row is one to classify: it has a label, or two texts."""
        return self.label is not None or self.pair is not None

    @property
    def said(self) -> str:
        """Returns all that stands in the row but its label, as one text."""
        parts = (self.text, self.pair, self.prompt, self.response, *(turn.content for turn in self.messages))
        return "\n".join(part.strip() for part in parts if part)


@dataclass(frozen=True, slots=True)
class TextDataset(Dataset):
    """The rows of a dataset of texts, in the order of their files.

    Attributes:
        name: The name that reports use.
        examples: The rows.
        notes: What was read and what was left out, a line each.
        classes: The names of the classes in their order, where the source knows it; empty otherwise.
        metrics: The names of the metrics that the dataset is usually measured by, the primary one first; empty where
            the source knows none.

    Example:
        >>> TextDataset("two", (Example(text="good", label="yes"), Example(text="bad", label="no"))).lines()
        ['2 examples']
    """

    name: str
    examples: tuple[Example, ...]
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()

    def fingerprint(self) -> str:
        """Returns a hash of the rows and of what else decides results, wherever they were read from."""
        rows = [
            (
                own.text,
                own.pair,
                own.label,
                own.prompt,
                own.response,
                [(one.role, one.content) for one in own.messages],
                own.split,
            )
            for own in self.examples
        ]
        return fingerprint([rows, self.classes, self.metrics])

    def lines(self) -> list[str]:
        """Returns what was read, in lines for the terminal."""
        counts = [(split, sum(own.split == split for own in self.examples)) for split in SPLITS]
        named = ", ".join(f"{count} {split}" for split, count in counts if count)
        return [counted(len(self.examples), "example") + (f": {named}" if named else ""), *self.notes]
