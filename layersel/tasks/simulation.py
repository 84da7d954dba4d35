"""What a task replays of labelled data: people label in the order of its predictions, which their labels change."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from layersel.data.source import Dataset
from layersel.tasks.task import Task

if TYPE_CHECKING:
    from layersel.tasks.problem import Problem, Subject


@dataclass(frozen=True)
class Simulated:
    """What came out.

    Attributes:
        lines: For the terminal.
        metrics: Numbers by name for each of the ways to predict that were compared.
    """

    lines: list[str]
    metrics: dict[str, dict[str, float]]


@dataclass
class Simulation(ABC):
    """Options of evaluate.py that replay the labelling of data whose labels are all known."""

    takes: ClassVar[type[Task]]
    """The class of tasks that it is for."""

    @abstractmethod
    def problems(self) -> list[str]:
        """Returns one line for each option that is out of range."""

    @abstractmethod
    def replayed(self, dataset: Dataset) -> Dataset:
        """Returns the part of the data that can be replayed.

        Raises:
            UserError: There is none, or the data lack what the options name.
        """

    @abstractmethod
    def run(self, problem: "Problem", subject: "Subject", learnt: frozenset[str], seed: int, folder: Path) -> Simulated:
        """Replays the labelling and writes its files.

        Args:
            problem: The replayed data.
            subject: The model on them.
            learnt: Fingerprints of the texts that the model has learnt from, whose labels it knows from the start.
            seed: Of the draws.
            folder: Where the files go.

        Raises:
            UserError: Nothing is left to find, which only the texts that the model has learnt from tell.
        """
