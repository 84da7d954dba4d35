"""The labels of a dataset of texts: classes or numbers."""

import math
from dataclasses import dataclass

from layersel.data.texts.examples import Example, TextDataset
from layersel.errors import UserError


@dataclass(frozen=True)
class Labels:
    """The labels of all examples, in their order.

    Attributes:
        classes: The names of the classes; none where labels are numbers.
        values: For each example the index of its class, or its number; NaN where unknown.
    """

    classes: tuple[str, ...]
    values: list[float]

    @property
    def known(self) -> list[int]:
        """The indices of the examples with a label."""
        return [index for index, value in enumerate(self.values) if not math.isnan(value)]


def read_labels(dataset: TextDataset) -> Labels:
    """Returns the labels of a dataset, some of whose rows may have none: numbers if all of them are, else classes.

    Raises:
        UserError: Labels of both kinds, classes that are not among the declared ones, or numbers that are not finite.

    Example:
        >>> read_labels(TextDataset("two", (Example(text="good", label="yes"), Example(text="bad", label="no"))))
        Labels(classes=('no', 'yes'), values=[1.0, 0.0])
    """
    labelled = [(row, own.label) for row, own in enumerate(dataset.examples, start=1) if own.label is not None]
    _check_one_kind(dataset.name, labelled)
    if labelled and not isinstance(labelled[0][1], str) and not dataset.classes:
        return Labels((), [_number(dataset.name, row, own) for row, own in enumerate(dataset.examples, start=1)])
    names = [None if own.label is None else _name(own.label) for own in dataset.examples]
    classes = dataset.classes or tuple(sorted({name for name in names if name is not None}))
    places = {name: float(place) for place, name in enumerate(classes)}
    for row, name in enumerate(names, start=1):
        if name is not None and name not in places:
            raise UserError(
                f"data: expected the classes that {dataset.name} declares ({_listed(classes)}), but row {row} has "
                f"{name!r}"
            )
    return Labels(classes, [math.nan if name is None else places[name] for name in names])


def _check_one_kind(dataset: str, labelled: list[tuple[int, str | float]]) -> None:
    kinds = {isinstance(label, str): (row, label) for row, label in reversed(labelled)}
    if len(kinds) == 2:
        (name_row, name), (number_row, number) = kinds[True], kinds[False]
        raise UserError(
            f"data: expected labels that are all names or all numbers, but {dataset} has {name!r} in row {name_row} "
            f"and {number:g} in row {number_row}; give data.labels=classes to take numbers for names"
        )


def _name(label: str | float) -> str:
    return label if isinstance(label, str) else f"{label:g}"


def _number(dataset: str, row: int, example: Example) -> float:
    if example.label is None:
        return math.nan
    number = float(example.label)
    if not math.isfinite(number):
        raise UserError(f"data: expected numbers as labels, but row {row} of {dataset} has {number}")
    return number


def _listed(names: tuple[str, ...], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
