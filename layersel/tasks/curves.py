"""Curves that a cell records, so that a grid can draw the means of its outcomes', and its datasets' lengths."""

from dataclasses import dataclass

LENGTHS = "lengths"
"""The name of the curves of how long a dataset's texts are."""


@dataclass(frozen=True)
class Curves:
    """One curve for each outcome over the same points. Means of cells are over the points that all of them have.

    Attributes:
        title: What a figure of them is called.
        x_title: What the points are.
        y_title: What the values are.
        x: The points (K), ascending.
        y: The values (K) of each outcome, `adapted`, `base`, references, or of each group of a dataset's texts.
        limit: The value that is drawn as a limit; None without one.
    """

    title: str
    x_title: str
    y_title: str
    x: list[float]
    y: dict[str, list[float]]
    limit: float | None = None
