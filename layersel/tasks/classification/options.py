"""The options of classification."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from layersel.data.source import Dataset, Source
from layersel.data.texts.examples import TextDataset
from layersel.data.texts.source import LabelledSource
from layersel.errors import one_of
from layersel.merging.method import HELD_OUT_LOSS
from layersel.tasks.amounts import is_amount
from layersel.tasks.classification.labels import read_labels
from layersel.tasks.classification.metrics import METRICS, common_metric, metric_for
from layersel.tasks.classification.unlabelled import UnlabelledTexts
from layersel.tasks.task import Metric, Task

if TYPE_CHECKING:
    from layersel.tasks.classification.head import LinearHead
    from layersel.tasks.classification.problem import ClassificationProblem

HEAD = "head.safetensors"
PREDICTIONS = "predictions.csv"
FIGURE_OF = "adapted"
HEAD_STARTS = ("probe", "random")
CLASS_WEIGHTS = ("none", "balanced")


@dataclass
class Classification(Task):
    """Classes or numbers from the vectors of texts: a linear head is trained beside the adapter."""

    metric: str | None = None
    """The primary metric: accuracy, f1, macro_f1 or matthews of classes, pearson, spearman or rmse of numbers; null =
    the one that the dataset is usually measured by."""
    train: float | None = None
    """Examples to learn from: a count, or a share below 1, of each class its part; null = the data's own training
    split, or 0.8 of the labelled examples where they have none. The data's own test or validation split is the test
    set, or else all that is left."""
    validation: float = 0.2
    """So many of these (a count, or a share below 1) are set aside for `patience`, where the data have no validation
    split beside the test set."""
    class_weights: str = "none"
    """`balanced`: each class weighs the same in the loss, however many examples it has; `none`: each example does."""
    head_start: str = "probe"
    """What the head starts as: the linear `probe` of the pretrained vectors of up to 256 examples, or `random`."""
    head_learning_rate: float = 5e-3
    """The highest learning rate of the head."""
    unfreeze_after: float = 0.0
    """Training steps (a count, or a share below 1) in which only the head is trained; then the adapter is too."""
    epochs: int = 3
    """Passes over what is learnt from."""
    patience: int | None = None
    """Epochs without a lower loss of the validation examples after which the training ends, and the best weights are
    taken; null = all of the epochs, and the last weights."""

    name: ClassVar[str] = "classification"
    takes: ClassVar[type] = LabelledSource
    offers: ClassVar[frozenset[str]] = frozenset({HELD_OUT_LOSS})
    judging: ClassVar[tuple[str, ...]] = ("class_weights",)
    lower_is_better: ClassVar[frozenset[str]] = frozenset(
        name for name, metric in METRICS.items() if not metric.higher_is_better
    )
    references: ClassVar[Mapping[str, str]] = {"tfidf": "TF-IDF, no encoder", "constant": "most frequent or mean"}
    witnesses: ClassVar[tuple[str, str] | None] = ("n_test", "test examples")
    head_files: ClassVar[tuple[str, ...]] = (HEAD,)
    result_files: ClassVar[tuple[str, ...]] = (PREDICTIONS,)
    prediction_files: ClassVar[tuple[str, ...]] = (".csv",)
    trains_head: ClassVar[bool] = True

    @property
    def primary(self) -> Metric:
        """Returns the metric that the options, or the datasets after `suited`, have named."""
        return METRICS["accuracy" if self.metric is None else self.metric]

    def suited(self, datasets: Sequence[Dataset]) -> "Classification":
        """Takes the metric of the datasets where none is given, and what their labels are.

        Raises:
            UserError: The metric does not suit the labels, or the datasets do not suit each other.
        """
        metrics = {}
        for dataset in datasets:
            if isinstance(dataset, TextDataset):
                of_numbers = not read_labels(dataset).classes
                metrics[dataset.name] = metric_for(self.metric, dataset.metrics, of_numbers, dataset.name)
        return replace(self, metric=common_metric(metrics)) if metrics else self

    def problem(self, dataset: Dataset, seed: int | None) -> "ClassificationProblem":
        """Splits the examples; without a seed all labelled ones are tested on."""
        from layersel.tasks.classification.problem import ClassificationProblem

        return ClassificationProblem.draw(self, dataset, seed)

    def load_head(self, folder: Path) -> "LinearHead":
        """Reads the head of a run."""
        from layersel.tasks.classification.head import LinearHead

        return LinearHead.load(folder / HEAD)

    def unlabelled(self, path: str, like: Source | None = None) -> UnlabelledTexts:
        """Returns a table of texts, and of their second ones if they are pairs."""
        return UnlabelledTexts(path)

    def heading(self, metrics: Mapping[str, Any]) -> str:
        """Returns how many examples were tested on, and what the pretrained model is judged by if it was."""
        judged = any(name.startswith("base/") for name in metrics)
        return f"{metrics['n_test']} test examples" + ("; pretrained = a linear probe on its vectors" if judged else "")

    def problems(self) -> list[str]:
        """Returns one line for each option that is out of range."""
        found = super().problems()
        choices: dict[str, Sequence[str]] = {
            "class_weights": CLASS_WEIGHTS,
            "head_start": HEAD_STARTS,
        }
        if self.metric is not None:
            choices["metric"] = list(METRICS)
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                found.append(str(one_of(f"task.{name}", getattr(self, name), allowed)))
        amounts = {"train": 1 if self.train is None else self.train, "validation": self.validation}
        found += [_amount(name, value) for name, value in amounts.items() if not is_amount(value) or value == 0]
        if not is_amount(self.unfreeze_after):
            found.append(_amount("unfreeze_after", self.unfreeze_after))
        if not self.head_learning_rate > 0:
            found.append(f"task.head_learning_rate: expected a number above 0, but got {self.head_learning_rate:g}")
        if self.patience is not None and self.patience < 1:
            found.append(f"task.patience: expected at least 1, or null, but got {self.patience}")
        return found


def _amount(name: str, value: float) -> str:
    return f"task.{name}: expected a count (1, 2, …) or a share such as 0.2, but got {value:g}"
