"""Labels: names of classes, or numbers."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from layersel.data.texts.rows import listed
from layersel.errors import UserError

KINDS = ("auto", "classes", "numbers")

_MOST_CLASSES = 20
"""Distinct whole numbers up to which they are classes, whatever they are."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of the rows of a dataset.

    Attributes:
        values: The label of each row: the name of a class, or a number; None where unknown.
        classes: The names of the classes in their order, where it is known; else empty.
        note: What they were read as, for the terminal.
    """

    values: list[str | float | None]
    classes: tuple[str, ...]
    note: str


def read_labels(values: Sequence[Any], wheres: Sequence[str], kind: str = "auto") -> Labels:
    """Returns labels as a file has them: empty ones, and the `nan` of data frames, are unknown.

    Labels that all are numbers are read as numbers if one is not whole, or if they are more than 20 different ones that
    are not counted through from 0 or 1; else they are classes. The note says how to have it otherwise.

    Args:
        values: The label of each row.
        wheres: Where each of them stands, for errors.
        kind: `classes`, `numbers`, or `auto`: by the values.

    Raises:
        UserError: A label is a list or an object, or is no number where numbers are asked for.

    Example:
        >>> read_labels(["1", "0", "", "1"], ["row 1", "row 2", "row 3", "row 4"]).values
        ['1', '0', None, '1']
        >>> read_labels(["3.5", "0"], ["row 1", "row 2"]).values
        [3.5, 0.0]
    """
    words = [_word(value, where) for value, where in zip(values, wheres, strict=True)]
    known = [word for word in words if word is not None]
    numbers = [_number(word) for word in known]
    numeric = bool(known) and None not in numbers
    if kind == "numbers":
        wrong = next((index for index, word in enumerate(words) if word is not None and _number(word) is None), None)
        if wrong is not None:
            raise UserError(
                f"{wheres[wrong]}: expected a number, as data.labels=numbers, but got {words[wrong]!r}; correct it or "
                "set data.labels=classes"
            )
    if kind == "numbers" or (kind == "auto" and numeric and _measured([number or 0.0 for number in numbers])):
        found = [number for number in numbers if number is not None]
        span = f" from {min(found):g} to {max(found):g}" if found else ""
        return Labels(
            [None if word is None else _number(word) for word in words],
            (),
            f"labels are numbers{span}" + ("; data.labels=classes reads classes" if kind == "auto" else ""),
        )
    names = [None if word is None else _class_name(word) for word in words]
    distinct = list(dict.fromkeys(name for name in names if name is not None))
    classes = tuple(sorted(distinct, key=float)) if numeric else ()
    remedy = "; data.labels=numbers reads numbers" if numeric and kind == "auto" else ""
    return Labels(list(names), classes, _classes_line(classes or distinct) + remedy)


def numbered_labels(values: Sequence[Any], wheres: Sequence[str], names: Sequence[str]) -> Labels:
    """Returns the names of classes that are given by their number, or name; −1 is unknown, as in tests of benchmarks.

    Raises:
        UserError: There is no class of that number or name.

    Example:
        >>> numbered_labels([1, -1], ["row 1", "row 2"], ["no", "yes"]).values
        ['yes', None]
    """
    found: list[str | float | None] = []
    for value, where in zip(values, wheres, strict=True):
        word = _word(value, where)
        number = -1 if word is None else names.index(word) if word in names else _number(word)
        if number not in range(-1, len(names)):
            allowed = f"-1 (none), 0 to {len(names) - 1}, or one of {listed(names)}"
            raise UserError(f"{where}: expected {allowed}, but got {value!r}")
        found.append(None if number == -1 else names[int(number or 0)])
    return Labels(found, tuple(names), _classes_line(names))


def _classes_line(names: Sequence[str]) -> str:
    return f"labels are classes ({len(names)}): {listed(names)}"


def _measured(numbers: Sequence[float]) -> bool:
    """Returns whether numbers measure something rather than count classes through."""
    distinct = sorted(set(numbers))
    if not all(number.is_integer() for number in distinct):
        return True
    through = distinct[0] in (0, 1) and distinct[-1] - distinct[0] == len(distinct) - 1
    return len(distinct) > _MOST_CLASSES and not through


def _word(value: Any, where: str) -> str | None:
    """Returns a label as text; None where there is none."""
    if isinstance(value, list | dict | bytes):
        raise UserError(f"{where}: expected one label, but got {value!r}; name another column with data.label_column")
    word = "" if value is None else str(value).strip()
    return None if word.lower() in ("", "nan") else word


def _number(word: str) -> float | None:
    try:
        number = float(word)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in word else None


def _class_name(word: str) -> str:
    # data frames write 1.0 for 1 where a column has gaps, in one file of a dataset and not in the other
    return re.sub(r"^([+-]?\d+)\.0+$", r"\1", word)
