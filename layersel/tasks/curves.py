"""Curves that a cell records of its outcomes, so that a grid can draw their means."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Curves:
    """One curve for each outcome over the same points. Means of cells are over the points that all of them have.

    Attributes:
        title: What a figure of them is called.
        x_title: What the points are.
        y_title: What the values are.
        x: The points (K), ascending.
        y: The values (K) of each outcome: `adapted`, `base`, references.
    """

    title: str
    x_title: str
    y_title: str
    x: list[float]
    y: dict[str, list[float]]
