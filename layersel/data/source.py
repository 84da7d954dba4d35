"""The base classes of all sources of data, whatever the task."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from layersel.errors import UserError


class Dataset(ABC):
    """The texts of one task, as a source has read them.

    Attributes:
        name: The name that reports use.
    """

    __slots__ = ()

    name: str

    @abstractmethod
    def fingerprint(self) -> str:
        """Returns a hash of what decides results, wherever it was read from."""

    @abstractmethod
    def lines(self) -> list[str]:
        """Returns what was read, in lines for the terminal."""


@dataclass
class Source(ABC):
    """A place to read a dataset from. Its fields are the options of the config group `data`."""

    named_by: ClassVar[str | None] = None
    """The option that names one of several datasets."""
    of_a_head: ClassVar[tuple[str, ...]] = ()
    """The options that a head looks at when it is fitted, and keeps."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name that reports use for the dataset."""

    @abstractmethod
    def problems(self) -> list[str]:
        """Returns everything wrong with the options that shows without reading the data, one line each."""

    def check(self) -> None:
        """Refuses options of which `problems` finds something wrong.

        Raises:
            UserError: There is something, all in one line.
        """
        found = self.problems()
        if found:
            raise UserError("; ".join(found))

    def files(self) -> list[Path]:
        """Returns the user's own files that it reads, which no result may overwrite."""
        return []

    @abstractmethod
    def load(self) -> Dataset:
        """Reads the dataset.

        Raises:
            UserError: An option is wrong, or the data are missing or damaged.
        """
