"""What a page of evidence is made of: its questions, and the grids that answer them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf
from yaml import YAMLError, safe_load  # type: ignore[import-untyped]

from layersel.config import build
from layersel.errors import UserError


@dataclass
class Question:
    """A question, and how it is answered."""

    question: str = MISSING
    """Its heading."""
    grids: list[str] = MISSING
    """The grids that answer it, folders OUTPUT/grids/NAME or archives; their cells are taken together."""
    about: str = ""
    """Markdown below the heading."""
    factor: str | None = None
    """The option whose values are compared; null compares whole configurations."""
    reference: str | None = None
    """The factor's value that others are compared with, or a configuration such as "selection=none"."""
    metric: str | None = None
    """The column of metrics to compare; null = the cells' own metric."""

    def problems(self) -> list[str]:
        """Returns a line for each option that is wrong."""
        found = [] if self.grids else ["grids: expected the folder of a grid or several, but got none"]
        if self.factor is not None and self.reference is None:
            found.append(f"reference: expected the value of {self.factor} to compare with, but got none")
        return found


@dataclass
class _Content:
    """The file."""

    title: str = "Evidence"
    about: str = ""
    questions: list[dict[str, Any]] = field(default_factory=list)

    def problems(self) -> list[str]:
        return [] if self.questions else ["questions: expected one or more, but got none; see --help"]


@dataclass(frozen=True)
class Outline:
    """A page of evidence.

    Attributes:
        title: Its heading.
        about: Markdown below the heading.
        questions: The questions in their order.
    """

    title: str
    about: str
    questions: list[Question]


def read_outline(file: Path) -> Outline:
    """Reads an outline in YAML.

    Raises:
        UserError: The file cannot be read, is no YAML, or something in it is unknown, missing or of another type: a
            line each.
    """
    try:
        content = safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"outline: cannot read {str(file)!r} ({error.strerror}); see --help") from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"outline: expected YAML in {str(file)!r}, but {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"outline: expected title and questions in {str(file)!r}, but got {content!r}; see --help")
    known = build(OmegaConf.create(content), _Content)
    questions, problems = [], []
    for number, options in enumerate(known.questions, start=1):
        try:
            questions.append(build(OmegaConf.create(options), Question))
        except UserError as error:
            problems += [f"question {number}: {line}" for line in str(error).splitlines()]
    if problems:
        raise UserError("\n".join(problems))
    return Outline(known.title, known.about, questions)
