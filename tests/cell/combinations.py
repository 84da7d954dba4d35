"""All combinations of the groups' files: which are refused and by which rule, and a set that covers every pair."""

import itertools
import random
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from layersel.cell.options import Cell
from layersel.cell.rules import RULES

Choices = dict[str, str]


@dataclass(frozen=True)
class Grid:
    """Axes of a grid: for each, the objects that its files make, by the files' names."""

    axes: dict[str, dict[str, object]]

    @cached_property
    def names(self) -> list[str]:
        """The axes in their order."""
        return list(self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """How many choices each axis has."""
        return tuple(len(choices) for choices in self.axes.values())

    def cell(self, choices: Choices) -> Cell:
        """The cell with these choices."""
        return Cell(**{axis: self.axes[axis][choice] for axis, choice in choices.items()})

    def draw(self, source: random.Random) -> Choices:
        """One combination at random."""
        return {axis: source.choice(list(choices)) for axis, choices in self.axes.items()}

    def at(self, choices: Choices) -> tuple[int | slice, ...]:
        """Where a combination stands in the arrays; an axis without a choice stands for all of it."""
        return tuple(
            list(self.axes[axis]).index(choices[axis]) if axis in choices else slice(None) for axis in self.names
        )

    @cached_property
    def refused(self) -> dict[str, npt.NDArray[np.bool_]]:
        """For each rule the combinations that break it, over the full product of the axes.

        A rule is asked for every combination of the axes that it reads, and of no other.
        """
        return {name: self._refused_by(name) for name in RULES}

    @cached_property
    def allowed(self) -> npt.NDArray[np.bool_]:
        """The combinations that break no rule."""
        broken = np.zeros(self.shape, dtype=bool)
        for array in self.refused.values():
            broken |= array
        return ~broken

    def _refused_by(self, name: str) -> npt.NDArray[np.bool_]:
        read = self._axes_read_by(name)
        default = {axis: next(iter(choices)) for axis, choices in self.axes.items()}
        shape = tuple(len(choices) if axis in read else 1 for axis, choices in self.axes.items())
        array = np.zeros(shape, dtype=bool)
        for combination in itertools.product(*(self.axes[axis] for axis in read)):
            chosen = dict(zip(read, combination, strict=True))
            where = tuple(list(self.axes[axis]).index(chosen[axis]) if axis in chosen else 0 for axis in self.names)
            array[where] = RULES[name](self.cell(default | chosen)) is not None
        return np.broadcast_to(array, self.shape)

    def _axes_read_by(self, name: str) -> list[str]:
        """Found by watching it on cells with every pair of choices, the others at random."""
        source, seen = random.Random(0), set()

        class Watched(Cell):
            def __getattribute__(self, attribute: str) -> object:
                seen.add(attribute)
                return super().__getattribute__(attribute)

        for pair in sorted(_pairs(self)) * 4:
            RULES[name](Watched(**vars(self.cell(self.draw(source) | dict(pair)))))
        return [axis for axis in self.names if axis in seen]


def covering_set(grid: Grid, seed: int = 0) -> list[Choices]:
    """Allowed combinations in which every pair of choices of two axes stands that any allowed one has.

    Greedy: each new combination starts with a pair still missing and takes, axis by axis, the choice that adds most.
    """
    source = random.Random(seed)
    missing = {pair for pair in _pairs(grid) if grid.allowed[grid.at(dict(pair))].any()}
    rows = []
    while missing:
        row = dict(source.choice(sorted(missing)))
        for axis in source.sample([axis for axis in grid.names if axis not in row], len(grid.names) - 2):
            possible = [choice for choice in grid.axes[axis] if grid.allowed[grid.at(row | {axis: choice})].any()]
            gains = {choice: len(_pairs_with(row, axis, choice, grid.names) & missing) for choice in possible}
            best = max(gains.values())
            row[axis] = source.choice([choice for choice in possible if gains[choice] == best])
        missing -= pairs_of(row, grid.names)
        rows.append({axis: row[axis] for axis in grid.names})
    return rows


def pairs_of(row: Choices, order: list[str]) -> set[tuple[tuple[str, str], tuple[str, str]]]:
    """The pairs of choices in a combination."""
    return set(itertools.combinations([(axis, row[axis]) for axis in order if axis in row], 2))


def _pairs_with(row: Choices, axis: str, choice: str, order: list[str]) -> set[tuple[tuple[str, str], tuple[str, str]]]:
    extended = row | {axis: choice}
    return {pair for pair in pairs_of(extended, order) if (axis, choice) in pair}


def _pairs(grid: Grid) -> set[tuple[tuple[str, str], tuple[str, str]]]:
    return {
        ((one, first), (other, second))
        for one, other in itertools.combinations(grid.names, 2)
        for first in grid.axes[one]
        for second in grid.axes[other]
    }
