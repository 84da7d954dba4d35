"""What a task says, or prepares, where people label in the order of its predictions and want to stop early."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from layersel.data.source import Dataset, Source
from layersel.runs.folder import RunFolder
from layersel.tasks.task import Task

if TYPE_CHECKING:
    from layersel.tasks.problem import Problem, Subject


@dataclass(frozen=True)
class Advice:
    """What was said.

    Attributes:
        lines: For the terminal.
        values: The same in numbers; anything that JSON can hold.
    """

    lines: list[str]
    values: dict[str, Any]


@dataclass
class Stopping(ABC):
    """Options of evaluate.py that go with predictions for partly labelled data."""

    takes: ClassVar[type[Task]]
    """The class of tasks that it is for."""
    files: ClassVar[tuple[str, ...]]
    """Extensions of the files that predictions can be written to."""

    @abstractmethod
    def problems(self) -> list[str]:
        """Returns one line for each option that is out of range."""

    @abstractmethod
    def source(self, path: str, like: Source | None) -> Source:
        """Returns the source that reads a file of data with the labels given so far; `like` says how to read it."""

    @abstractmethod
    def check(self, dataset: Dataset, run: RunFolder) -> None:
        """Refuses what shows without the model.

        Raises:
            UserError: The data lack what it needs, or are not what the run has learnt from a part of.
        """

    @abstractmethod
    def predict(self, problem: "Problem", subject: "Subject", head: Any, run: RunFolder, path: Path) -> Advice:
        """Writes the predictions and returns what there is to say.

        Args:
            problem: The partly labelled data.
            subject: The run's final model on them.
            head: The run's head.
            run: The folder of the run.
            path: The file of the predictions.

        Raises:
            UserError: The data lack what it needs, which only the texts that the run has learnt from tell.
        """
