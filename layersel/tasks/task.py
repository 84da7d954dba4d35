"""What a task is: options that turn a dataset into a problem to learn from and to judge models on."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from layersel.backbone.pretrained import Pretrained
from layersel.data.source import Dataset, Source
from layersel.runs.fingerprints import flat_options
from layersel.training.hyperparameters import Hyperparameters

if TYPE_CHECKING:
    from layersel.tasks.problem import Problem


FEWEST_WITNESSES = 20
"""Fewest test examples, or those of them that a metric hangs on, for an interval of a difference: that of a mean leaves
out 0 for 8 % of simulated comparisons of equal models with 20 examples, and for 16 % with 5."""


@dataclass(frozen=True)
class Metric:
    """The number that cells are compared by.

    Attributes:
        name: Its key in `metrics.json`.
        title: How people write it.
        higher_is_better: Its direction.
        beside: The key of a second number, the lower the better, that a gain in this one may cost: it is a column of a
            grid's tables and an axis of its Pareto front. None if there is none.
    """

    name: str
    title: str
    higher_is_better: bool = True
    beside: str | None = None

    @property
    def directed_title(self) -> str:
        """Returns the title, with the direction where lower values are better."""
        return self.title if self.higher_is_better else f"{self.title} (lower is better)"


@dataclass(frozen=True)
class Shown:
    """A table for the terminal.

    Attributes:
        title: The line above it.
        columns: The heading of each column.
        rows: The cells of each row.
    """

    title: str
    columns: list[str]
    rows: list[list[str]]


@dataclass
class Task(Hyperparameters, ABC):
    """A kind of task: its options, and what everything outside of its package knows of it."""

    name: ClassVar[str]
    """The task's name, that of its file in conf/task/."""
    takes: ClassVar[type] = Source
    """The class of sources whose datasets it can learn from."""
    auto_class: ClassVar[str] = "AutoModel"
    """The class of transformers that loads the model it needs."""
    undeciding: ClassVar[frozenset[str]] = frozenset({"prefix_cache_mb", "recompute"})
    """Options that change no number."""
    judging: ClassVar[tuple[str, ...]] = ()
    """Options that decide how a trained model is judged: those of adapters that are merged must agree."""
    lower_is_better: ClassVar[frozenset[str]] = frozenset()
    """The names of those of its metrics whose lower values are better; of all others higher ones are."""
    references: ClassVar[Mapping[str, str]] = {}
    """The titles of the outcomes without a model that `Problem.references` gives, by name."""
    head_files: ClassVar[tuple[str, ...]] = ()
    """Names of the files in a run's folder that `load_head` reads; none if the task fits nothing on top of a model."""
    result_files: ClassVar[tuple[str, ...]] = ()
    """Names of the other files that `Problem.write` writes; a new attempt at a run removes them and the head's."""
    prediction_files: ClassVar[tuple[str, ...]] = ()
    """Extensions of the files that predictions can be written to; none if the task predicts nothing."""
    trains_head: ClassVar[bool] = False
    """This flag says whether its module trains parameters of its own, so that no adapter is needed for a training."""
    witnesses: ClassVar[tuple[str, str] | None] = None
    """The count of what an interval of a difference resamples, and what that is; None if there is none of few."""
    offers: ClassVar[frozenset[str]] = frozenset()
    """What its problems offer to merging beyond a training: HELD_OUT_LOSS, LOGITS (`layersel.merging.method`)."""

    @property
    @abstractmethod
    def primary(self) -> Metric:
        """Returns the number that its cells are compared by; a ClassVar does where it is the same for all options."""

    def suited(self, datasets: Sequence[Dataset]) -> "Task":
        """Returns the task with the options that datasets decide where the user has not, such as the primary metric.

        Args:
            datasets: What one cell learns from: one dataset, or those whose adapters are merged.

        Raises:
            UserError: The datasets would need different ones.
        """
        return self

    @abstractmethod
    def problem(self, dataset: Dataset, seed: int | None) -> "Problem":
        """Returns the problem that a dataset poses.

        Args:
            dataset: What a source of the class `takes` has read.
            seed: Of the split; None sets nothing aside to learn from, so that all is judged on.

        Raises:
            UserError: The dataset has too little to learn from.
        """

    def judging_options(self) -> dict[str, Any]:
        """Returns the options that `judging` names, those within them included, by dotted names."""
        judged = tuple(f"task.{name}." for name in self.judging)
        return {name: own for name, own in flat_options("task", self).items() if f"{name}.".startswith(judged)}

    def refusal(self, source: Source) -> str | None:
        """Returns the line that refuses a source whose datasets the task cannot learn from; None if it can."""
        if isinstance(source, self.takes):
            return None
        expected = f"a source that task={self.name} takes ({self.takes.__name__})"
        return f"data: expected {expected}, but got {type(source).__name__}; give another, or another task"

    def model_refusal(self, model: Pretrained) -> str | None:
        """Returns the line that refuses a model whose vectors the task cannot use; None if it can."""
        return None

    def load_head(self, folder: Path) -> Any:
        """Returns what `Problem.write` wrote of an outcome's head into `folder`; None if the task has none.

        Raises:
            UserError: The files are missing or damaged.
        """
        return None

    def unlabelled(self, path: str, like: Source | None = None) -> Source:
        """Returns the source that reads a file of data without labels, to be predicted.

        Args:
            path: The file.
            like: A source whose options say how to read it, if one is given.
        """
        raise NotImplementedError

    def content(self) -> Any:
        """Returns a hash of what the task reads beside the dataset; None if it reads nothing else."""
        return None

    def shown(self, folder: Path) -> Shown | None:
        """Returns what people may want to see of a run's own files, below its metrics; None for nothing."""
        return None

    def why_no_interval(self, metrics: Mapping[str, Any]) -> str | None:
        """Returns that the test data are too few for an interval of a difference, with their number; else None."""
        if self.witnesses is None:
            return None
        count, what = self.witnesses
        number = metrics.get(count, FEWEST_WITNESSES)
        return None if number >= FEWEST_WITNESSES else f"too few {what} ({number}) to tell"

    def heading(self, metrics: Mapping[str, Any]) -> str:
        """Returns a line that says what the metrics are of."""
        return f"{self.primary.title} and the other metrics"
