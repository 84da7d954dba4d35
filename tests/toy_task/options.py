"""The options of the regression."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from layersel.data.source import Dataset, Source
from layersel.merging.method import HELD_OUT_LOSS
from layersel.tasks.task import Metric, Task
from toy_task.source import NumberedTexts, TextFile, TextSource

if TYPE_CHECKING:
    from toy_task.problem import RegressionProblem
    from toy_task.ridge import Ridge

HEAD = "ridge.safetensors"


@dataclass
class Regression(Task):
    """Predicts the number of a text by a ridge regression on its vector."""

    learnt_from: int = 16
    """Texts that are learnt from; the others are judged on."""
    penalty: float = 0.1
    """Strength of the ridge's penalty."""

    name: ClassVar[str] = "toy"
    primary: ClassVar[Metric] = Metric("rmse", "RMSE", higher_is_better=False)
    takes: ClassVar[type[Source]] = TextSource
    offers: ClassVar[frozenset[str]] = frozenset({HELD_OUT_LOSS})
    judging: ClassVar[tuple[str, ...]] = ("penalty",)
    references: ClassVar[Mapping[str, str]] = {"mean": "the mean"}
    head_files: ClassVar[tuple[str, ...]] = (HEAD,)
    prediction_files: ClassVar[tuple[str, ...]] = (".csv",)

    def problem(self, dataset: Dataset, seed: int | None) -> "RegressionProblem":
        """Draws the texts that are learnt from."""
        from toy_task.problem import RegressionProblem

        if not isinstance(dataset, NumberedTexts):
            raise TypeError("expected texts with numbers")
        return RegressionProblem(self, dataset, seed)

    def load_head(self, folder: Path) -> "Ridge":
        """Reads the ridge of a run."""
        from toy_task.ridge import Ridge

        return Ridge.load(folder / HEAD)

    def unlabelled(self, path: str, like: Source | None = None) -> TextFile:
        """A CSV file of texts."""
        return TextFile(path)
