"""The header of a table: where it stands, and where it stands again since tables were joined."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from layersel.data.identifiers import squash, unique_names

Wanted = Callable[[Sequence[str]], bool]
"""A function of this kind says whether names of columns are those of the table that is looked for."""
_LONGEST_NAME = 60
"""Characters of a column's name at most, by which the lines of values are told from headers at once."""


def never(cells: Sequence[str]) -> bool:
    """Returns False for any cells."""
    return False


@dataclass(frozen=True)
class Header:
    """The names of a table's columns as they are written.

    Attributes:
        names: The names.
    """

    names: Sequence[str]

    @cached_property
    def columns(self) -> list[str]:
        """Returns the names, of which each stands for one column."""
        return unique_names([" ".join(name.split()) for name in self.names])

    @cached_property
    def named(self) -> int:
        """Returns the number of columns up to the last one that has a name."""
        return width(self.names)

    def order_in(self, cells: Sequence[str]) -> list[str] | None:
        """Returns the columns in the order of a line that has all their names and nothing else, None for any other."""
        if not _may_be_names(cells) or len(self._known) < 2 or sorted(_known(cells)) != sorted(self._known):
            return None
        left = list(zip(self.names, self.columns, strict=True))
        ordered = []
        for cell in cells[: width(cells)]:
            found = next((own for own in left if squash(own[0]) == squash(cell)), None)
            if found is None:
                return None
            left.remove(found)
            ordered.append(found[1])
        return ordered + [column for _, column in left]

    def shares_names(self, cells: Sequence[str]) -> bool:
        """Returns whether at least two values of a line, and half of them, are names of columns."""
        names = _known(cells) if _may_be_names(cells) else []
        shared = set(names).intersection(self._known)
        return len(shared) >= 2 and len(names) <= 2 * len(shared)

    @cached_property
    def _known(self) -> list[str]:
        return _known(self.names)


def place_of_header(lines: Sequence[Sequence[str]], wanted: Wanted) -> int:
    """Returns the place of the header: the longest line of wanted names, or the first line if there is none.

    A line of such names is the header although a longer one follows, if lines as long as that one stand between them,
    or, as where tables were joined, it has names of that one and lines as long as itself: what stands before a table
    is short.
    """
    found = [place for place, cells in enumerate(lines) if wanted(cells)]
    longest = max(found, key=lambda place: width(lines[place]), default=0)
    for place in found:
        between = max(map(width, lines[place + 1 : longest]), default=0)
        joined = between >= width(lines[place]) and Header(lines[longest]).shares_names(lines[place])
        if joined or between >= width(lines[longest]):
            return place
    return longest


def width(cells: Sequence[str]) -> int:
    """Returns the number of cells up to the last one that has a value."""
    return max((place for place, cell in enumerate(cells, start=1) if cell.strip()), default=0)


def _may_be_names(cells: Sequence[str]) -> bool:
    return all(len(cell) <= _LONGEST_NAME for cell in cells)


def _known(cells: Sequence[str]) -> list[str]:
    """Returns the names in a line as they are compared."""
    return [name for cell in cells if (name := squash(cell))]
