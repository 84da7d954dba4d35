"""What a run prints: tables and notes on the terminal, plain text elsewhere."""

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Literal

from rich.console import Console
from rich.table import Table

from layersel.selection.selection import Selection

ALIGNMENT: Mapping[str, Literal["left", "center", "right"]] = {"l": "left", "c": "center", "r": "right"}


def note(text: str | None) -> None:
    """Prints a line that is never wrapped; None prints nothing."""
    if text is not None:
        _console().print(text, soft_wrap=True, markup=False, highlight=False)


def show_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    alignment: str | None = None,
    bold: Container[int] = (),
) -> None:
    """Prints a table.

    Args:
        title: What stands above it.
        columns: The heading of each column.
        rows: The cells of each row.
        alignment: A letter for each column: l, c or r. None = the first column on the left, the others on the right.
        bold: Indices of the rows that are shown in bold.
    """
    table = Table(title=title, title_justify="left")
    for heading, letter in zip(columns, alignment or "l" + "r" * (len(columns) - 1), strict=True):
        table.add_column(heading, justify=ALIGNMENT[letter])
    for index, row in enumerate(rows):
        table.add_row(*row, style="bold" if index in bold else None)
    _console().print(table)


def format_number(value: float | None) -> str:
    """Returns the number with three decimals; a dash where there is none.

    Example:
        >>> format_number(0.25), format_number(None), format_number(float("nan"))
        ('0.250', '-', '-')
    """
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def show_selection(selection: Selection) -> None:
    """Layers, scores, chosen or not, and why."""
    table = Table(title=f"Layers by {selection.score}", title_justify="left")
    for heading, justify in (("layer", "right"), ("score", "right"), ("chosen", "center")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    stability = selection.stability
    if stability is not None:
        table.add_column("chosen in resamples", justify="right")
    table.add_column("why")
    for layer, score in enumerate(selection.scores):
        chosen = layer in selection.layers
        share = [] if stability is None else [f"{stability.chosen_share[layer]:.0%}"]
        style = "bold" if chosen else None
        table.add_row(
            str(layer), f"{score:.4f}", "yes" if chosen else "", *share, selection.reasons[layer], style=style
        )
    _console().print(table)
    if stability is not None and not math.isnan(stability.rank_correlation):
        note(
            f"stability: rank correlation {stability.rank_correlation:.2f} over {stability.samples} bootstrap samples "
            "of the probe"
        )


def _console() -> Console:
    """Made for each call: it looks where standard output points now."""
    return Console(width=None if Console().is_terminal else 120)
