"""The options of few-shot citation screening."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from layersel.data.reviews.source import ReviewSource
from layersel.data.reviews.table import Table
from layersel.data.source import Dataset, Source
from layersel.errors import one_of
from layersel.merging.method import HELD_OUT_LOSS, LOGITS
from layersel.tasks.screening.pairs import Pairs, RandomPairs
from layersel.tasks.screening.split import IF_TOO_FEW
from layersel.tasks.task import Metric, Task

if TYPE_CHECKING:
    from layersel.tasks.screening.head import LogisticHead
    from layersel.tasks.screening.problem import ScreeningProblem

HEAD = "head.safetensors"
RANKING = "ranking.csv"


@dataclass
class Screening(Task):
    """Few-shot citation screening: contrastive training of the adapter, then a logistic head on the vectors."""

    shots: int = 8
    """Labelled records of each class to learn from; the rest of the labelled records is the test set."""
    if_too_few: str = "error"
    """When a class has no record left beyond its shots: `error`, or `reduce` the shots of both classes."""
    pairs: Pairs = field(default_factory=RandomPairs)
    """Which pairs of labelled records are contrasted."""
    epochs: int = 1
    """Passes over the pairs."""
    max_steps: int | None = 20
    """Most training steps; null = all of the epochs. More often hurts than helps with few labelled records."""
    batch_size: int = 16
    """Pairs in a training step."""
    temperature: float = 0.2
    """τ of the loss: cosine similarities are divided by it."""
    head_c: float = 1.0
    """Inverse strength of the logistic head's penalty."""
    normalize: bool = True
    """Scale vectors to length 1 before the head."""

    name: ClassVar[str] = "screening"
    metric: ClassVar[Metric] = Metric("awss@95", "AWSS@95")
    takes: ClassVar[type] = ReviewSource
    offers: ClassVar[frozenset[str]] = frozenset({HELD_OUT_LOSS, LOGITS})
    judging: ClassVar[tuple[str, ...]] = ("head_c", "normalize")
    references: ClassVar[Mapping[str, str]] = {"tfidf": "TF-IDF + SVM"}
    head_files: ClassVar[tuple[str, ...]] = (HEAD,)
    result_files: ClassVar[tuple[str, ...]] = (RANKING,)
    prediction_files: ClassVar[tuple[str, ...]] = (".csv", ".ris", ".xlsx")

    def problem(self, dataset: Dataset, seed: int | None) -> "ScreeningProblem":
        """Draws the records to learn from; without a seed all labelled records are tested on."""
        from layersel.tasks.screening.problem import ScreeningProblem

        return ScreeningProblem.draw(self, dataset, seed)

    def load_head(self, folder: Path) -> "LogisticHead":
        """Reads the logistic head of a run."""
        from layersel.tasks.screening.head import LogisticHead

        return LogisticHead.load(folder / HEAD)

    def unlabelled(self, path: str, like: Source | None = None) -> Table:
        """Returns a file of records, whose labels, if it has any, are not read; `like` names its columns."""
        options = like if isinstance(like, Table) else Table()
        return replace(options, path=path, label_level="none", label_column=None)

    def heading(self, metrics: Mapping[str, Any]) -> str:
        """Returns how many records were tested on, and how many of them are included."""
        return f"{metrics['n_test']} test records, {metrics['n_included']} included"

    def problems(self) -> list[str]:
        """Returns one line for each option that is out of range."""
        found = super().problems()
        if self.shots < 1:
            found.append(f"task.shots: expected 1 or more, but got {self.shots}; the default is 8")
        if self.if_too_few not in IF_TOO_FEW:
            found.append(str(one_of("task.if_too_few", self.if_too_few, IF_TOO_FEW)))
        if self.batch_size == 1:
            found.append("task.batch_size: expected at least 2, but got 1")
        found += [
            f"task.{name}: expected a number above 0, but got {getattr(self, name)}"
            for name in ("temperature", "head_c")
            if not getattr(self, name) > 0
        ]
        return found
