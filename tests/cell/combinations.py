"""All combinations of the groups' files: which are refused and by which rule, and a set that covers every pair.

Choices of an axis that no rule tells apart are of one kind. Arrays are over the kinds: those of the full product would
have gigabytes.
"""

import itertools
import random
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from layersel.cell.options import Cell
from layersel.cell.rules import RULES

Choices = dict[str, str]
FLAGS = ("trains", "keeps_modules", "bypasses_modules", "moves_base", "moves_biases", "quantised_base")
FLAGS += ("layers_apart", "takes_ranks")
ALIKE: dict[str, Callable[[Any], Hashable]] = {
    "selection": lambda score: (score.needs, score.measures, score.takes_n, score.chooses_none),
    "adapter": lambda adapter: (*(getattr(adapter, flag, None) for flag in FLAGS), getattr(adapter, "rank", None)),
    "merging": lambda merging: (merging.merges, merging.asks, bool(merging.named_datasets)),
}
"""What rules may ask of the choices of long axes; a test draws combinations at random to see that it is all of it."""


@dataclass(frozen=True)
class Grid:
    """Axes of a grid: for each, the objects that its files make, by the files' names."""

    axes: dict[str, dict[str, object]]

    @cached_property
    def names(self) -> list[str]:
        """The axes in their order."""
        return list(self.axes)

    @property
    def size(self) -> int:
        """How many combinations there are."""
        return int(self.counts.sum())

    def cell(self, choices: Choices) -> Cell:
        """The cell with these choices."""
        return Cell(**{axis: self.axes[axis][choice] for axis, choice in choices.items()})

    def draw(self, source: random.Random) -> Choices:
        """One combination at random."""
        return {axis: source.choice(list(choices)) for axis, choices in self.axes.items()}

    def at(self, choices: Choices) -> tuple[int | slice, ...]:
        """Where a combination stands in the arrays; an axis without a choice stands for all of it."""
        return tuple(self.kinds[axis][choices[axis]] if axis in choices else slice(None) for axis in self.names)

    @cached_property
    def kinds(self) -> dict[str, dict[str, int]]:
        """For each axis the number of each choice's kind: no rule tells those of one kind apart."""
        found: dict[str, dict[str, int]] = {}
        for place, (axis, choices) in enumerate(self.axes.items()):
            own = [array for array in self._decisions.values() if array.shape[place] > 1]
            seen: dict[bytes, int] = {}
            for index, choice in enumerate(choices):
                decided = b"".join(array.take(index, axis=place).tobytes() for array in own)
                found.setdefault(axis, {})[choice] = seen.setdefault(decided, len(seen))
        return found

    @cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """How many combinations are of these kinds."""
        return reduce(np.multiply, np.ix_(*(np.bincount(list(kinds.values())) for kinds in self.kinds.values())))

    @cached_property
    def refused(self) -> dict[str, npt.NDArray[np.bool_]]:
        """For each rule the kinds of combinations that break it."""
        firsts = {axis: np.unique(list(kinds.values()), return_index=True)[1] for axis, kinds in self.kinds.items()}
        found = {}
        for name, array in self._decisions.items():
            pairs = zip(firsts.values(), array.shape, strict=True)
            found[name] = np.broadcast_to(
                array[np.ix_(*(own if length > 1 else [0] for own, length in pairs))], self.counts.shape
            )
        return found

    @cached_property
    def allowed(self) -> npt.NDArray[np.bool_]:
        """The kinds of combinations that break no rule."""
        return ~np.logical_or.reduce(list(self.refused.values()))

    @cached_property
    def _decisions(self) -> dict[str, npt.NDArray[np.bool_]]:
        """For each rule the combinations that break it; an axis that it does not read has the length 1."""
        return {name: self._decided_by(name, read) for name, read in self._read().items()}

    def _decided_by(self, name: str, read: list[str]) -> npt.NDArray[np.bool_]:
        default = {axis: next(iter(choices)) for axis, choices in self.axes.items()}
        cell = self.cell(default)
        firsts, places = zip(*(self._alike(axis) for axis in read), strict=True) if read else ((), ())
        broken = []
        for combination in itertools.product(*firsts):
            vars(cell).update(zip(read, combination, strict=True))
            broken.append(RULES[name](cell) is not None)
        decided = np.array(broken).reshape([len(own) for own in firsts])[np.ix_(*places)]
        return decided.reshape([len(self.axes[axis]) if axis in read else 1 for axis in self.names])

    def _alike(self, axis: str) -> tuple[list[object], list[int]]:
        """What of an axis is decided, and which of these each of its choices is like."""
        seen: dict[Hashable, int] = {}
        firsts, places = [], []
        for place, made in enumerate(self.axes[axis].values()):
            key = ALIKE[axis](made) if axis in ALIKE else place
            if key not in seen:
                seen[key] = len(firsts)
                firsts.append(made)
            places.append(seen[key])
        return firsts, places

    def _read(self) -> dict[str, list[str]]:
        """The axes that each rule reads; found by watching it on cells with every pair of choices.

        The others are the defaults; further cells are at random: a rule may ask for an axis only where others allow it.
        """
        source, seen = random.Random(0), set()
        found: dict[str, set[str]] = {name: set() for name in RULES}

        class Watched(Cell):
            def __getattribute__(self, attribute: str) -> object:
                seen.add(attribute)
                return super().__getattribute__(attribute)

        default = {axis: next(iter(choices)) for axis, choices in self.axes.items()}
        watched = [default | dict(pair) for pair in sorted(_pairs(self))] + [self.draw(source) for _ in range(500)]
        for choices in watched:
            cell = Watched(**vars(self.cell(choices)))
            for name, rule in RULES.items():
                seen.clear()
                rule(cell)
                found[name] |= seen
        return {name: [axis for axis in self.names if axis in own] for name, own in found.items()}


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
