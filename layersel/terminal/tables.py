"""Prints tables and notes: in the width of a terminal, else in a fixed one."""

import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

from rich.console import Console
from rich.table import Table

_noted: set[str] = set()
_silent: list[bool] = []
ROUNDING = 1e-9
"""Numbers up to this size are 0 but for the rounding of what they are computed from."""
ALIGNMENT: Mapping[str, Literal["left", "center", "right"]] = {"l": "left", "c": "center", "r": "right"}


def note(text: str | None, once: bool = False) -> None:
    """Prints a line that is never wrapped; None prints nothing.

    Args:
        text: The line.
        once: Whether to print nothing if this process has printed the same line `once` before, as the cells of a grid
            have much in common.
    """
    if text is None or _silent or (once and text in _noted):
        return
    if once:
        _noted.add(text)
    _console().print(text, soft_wrap=True, markup=False, highlight=False)


@contextmanager
def without_notes() -> Iterator[None]:
    """Within the block notes are not printed, of work that is done many times over for instance."""
    _silent.append(True)
    try:
        yield
    finally:
        _silent.pop()


def show_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    alignment: str | None = None,
    bold: Container[int] = (),
) -> None:
    """Prints a table.

    Args:
        title: The line above it.
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


def counted(number: int, what: str) -> str:
    """Returns a number with its noun.

    Example:
        >>> counted(1, "cell"), counted(2, "cell")
        ('1 cell', '2 cells')
    """
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def format_number(value: float | None, digits: int = 2, sign: Literal["", "+"] = "") -> str:
    """Returns the number with three decimals, with some digits where these would be zeros; a dash where there is none.

    Args:
        value: The number.
        digits: How many digits it has where three decimals would be zeros.
        sign: `+` shows the sign of positive numbers too.

    Example:
        >>> format_number(0.25), format_number(0.000061), format_number(None), format_number(float("nan"))
        ('0.250', '6.1e-05', '-', '-')
    """
    if value is None or math.isnan(value):
        return "-"
    return f"{value:{sign}.{digits}g}" if ROUNDING < abs(value) < 0.0005 else f"{value:{sign}.3f}"


def _console() -> Console:
    """Returns a console that is made for one call, as standard output may be redirected between two."""
    return Console(width=None if Console().is_terminal else 120)
