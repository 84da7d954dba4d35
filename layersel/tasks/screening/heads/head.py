"""The options of a head, and the contract that they fulfil."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from layersel.config import Choice
from layersel.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from layersel.data.reviews.records import Review
    from layersel.tasks.screening.heads.examples import Examples
    from layersel.tasks.screening.heads.pool import Pool

# Shapes: N records, D hidden size.

Scorer = Callable[["Pool"], "Tensor"]
"""Scores (N, float64) of the records of a pool, higher = likelier included."""


@dataclass
class Head(Choice):
    """A way to score records by what a few labelled ones look like."""

    needs_excluded: ClassVar[bool] = True
    """This flag says whether the head learns from excluded records too."""
    min_included: ClassVar[int] = 1
    """Included records that it needs at least."""
    needs_protocol: ClassVar[bool] = False
    """This flag says whether the head looks at the text of the review's protocol."""
    gives_log_odds: ClassVar[bool] = False
    """This flag says whether the scores are log-odds, differentiable in the vectors."""
    compares_layers: ClassVar[bool] = False
    """This flag says whether the head looks at the vectors of several layers one by one."""

    def fit(self, examples: "Examples") -> Scorer:
        """Learns from labelled records.

        Raises:
            UserError: There are too few of a class.
        """
        raise NotImplementedError

    def problems(self) -> list[str]:
        """Returns one line for each option that is out of range."""
        return []


def check_protocol(head: Head, review: "Review", option: str) -> None:
    """Raises a `UserError` if the head, which `option` names, needs a protocol and the review has none."""
    if head.needs_protocol and review.protocol is None:
        raise UserError(
            f"{option}: this head compares with the review's question or criteria, but got none; "
            "give data.protocol=FILE"
        )


def not_above_zero(name: str, value: float) -> list[str]:
    """Returns the line that refuses an option of a head that must be above 0; nothing if it is."""
    return [] if value > 0 else [f"task.head.{name}: expected a number above 0, but got {value}"]
