"""The options of few-shot citation screening."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from layersel.backbone.pretrained import Pretrained
from layersel.config import choices
from layersel.data.reviews.source import ReviewSource
from layersel.data.reviews.table import Table
from layersel.data.source import Dataset, Source
from layersel.errors import one_of
from layersel.merging.method import HELD_OUT_LOSS, LOGITS
from layersel.tasks.screening.heads.adaptive import Adaptive
from layersel.tasks.screening.heads.head import Head
from layersel.tasks.screening.heads.named import head_named
from layersel.tasks.screening.losses.loss import Loss
from layersel.tasks.screening.losses.pairwise import Pairwise
from layersel.tasks.screening.split import IF_TOO_FEW
from layersel.tasks.task import Metric, Task

if TYPE_CHECKING:
    from layersel.tasks.screening.heads.examples import FittedHead
    from layersel.tasks.screening.problem import ScreeningProblem

HEAD = "head.safetensors"
RANKING = "ranking.csv"


@dataclass
class Screening(Task):
    """Few-shot citation screening: contrastive training of the adapter, then a head that ranks."""

    shots: int | None = 8
    """Labelled records of each class to learn from; the rest of the labelled records is the test set. null: all
    labelled ones are learnt from, and the unlabelled ranked, so that a team can label more and call it again."""
    if_too_few: str = "error"
    """When a class has no record left beyond its shots: `error`, or `reduce` the shots of both classes."""
    loss: Loss = field(default_factory=Pairwise)
    """What the adapter is trained for."""
    epochs: int = 1
    """Passes over what the loss draws from: pairs of labelled records, or the unlabelled records."""
    max_steps: int | None = 20
    """Most training steps; null = all of the epochs. More often hurts than helps with few labelled records."""
    batch_size: int = 16
    """Pairs in a training step; of a loss that draws unlabelled records, these."""
    head: Head = field(default_factory=Adaptive)
    """What scores the records by their vectors, their texts, or both."""
    other_heads: list[str] = field(default_factory=list)
    """Heads whose rankings by the same vectors are measured beside it, as HEAD_head/METRIC, after one training."""

    name: ClassVar[str] = "screening"
    primary: ClassVar[Metric] = Metric("awss@95", "AWSS@95")
    takes: ClassVar[type] = ReviewSource
    offers: ClassVar[frozenset[str]] = frozenset({HELD_OUT_LOSS, LOGITS})
    judging: ClassVar[tuple[str, ...]] = ("head", "other_heads")
    references: ClassVar[Mapping[str, str]] = {
        "elas_u4": "ELAS u4, no encoder",
        "nearest": "nearest, untouched encoder",
        "fusion": "fusion, untouched encoder",
    }
    witnesses: ClassVar[tuple[str, str] | None] = ("n_included", "included records")
    head_files: ClassVar[tuple[str, ...]] = (HEAD,)
    result_files: ClassVar[tuple[str, ...]] = (RANKING,)
    prediction_files: ClassVar[tuple[str, ...]] = (".csv", ".ris", ".xlsx")

    def problem(self, dataset: Dataset, seed: int | None) -> "ScreeningProblem":
        """Draws the records to learn from; without a seed all labelled records are tested on."""
        from layersel.tasks.screening.problem import ScreeningProblem

        return ScreeningProblem.draw(self, dataset, seed)

    def components(self) -> list[object]:
        """Returns what computes the numbers beside this class: the loss, the heads, and the references' heads."""
        others = [*self.compared_heads().values(), *self.reference_heads().values()]
        return [self.loss, self.head, self.log_odds_head, *others]

    def reference_heads(self) -> dict[str, Head]:
        """Returns the heads of the references by name, as their files have them, whatever the head of the task is."""
        return {name: head_named(name) for name in self.references}

    def compared_heads(self) -> dict[str, Head]:
        """Returns the other heads by name, as their files have them."""
        return {name: head_named(name) for name in self.other_heads}

    @property
    def log_odds_head(self) -> Head:
        """Returns the head whose scores are log-odds: the task's own if it gives them, or else logistic regression."""
        return self.head if self.head.gives_log_odds else head_named("logistic")

    def model_refusal(self, model: Pretrained) -> str | None:
        """Returns the line that refuses a model with one layer's vectors for a head that compares those of several."""
        compares = [head.name for head in (self.head, *self.compared_heads().values()) if head.compares_layers]
        if not compares or model.keeps_layers_apart:
            return None
        return (
            f"task.head={compares[0]}: expected the vectors of several layers side by side, but got "
            f"model.layers={model.layers} model.combine={model.combine}; give model.layers=all model.combine=concat"
        )

    def load_head(self, folder: Path) -> "FittedHead":
        """Fits the head on the examples that a run kept."""
        from layersel.tasks.screening.heads.examples import FittedHead

        return FittedHead.load(folder / HEAD, self.head)

    def unlabelled(self, path: str, like: Source | None = None) -> Table:
        """Returns a file of records, whose labels, if it has any, are not read; `like` names its columns."""
        return replace(Table.at(path, like), label_level="none", label_column=None)

    def heading(self, metrics: Mapping[str, Any]) -> str:
        """Returns how many records were tested on, and how many of them are included."""
        return f"{metrics['n_test']} test records, {metrics['n_included']} included"

    def problems(self) -> list[str]:
        """Returns one line for each option that is out of range."""
        found = super().problems()
        if self.shots is not None and self.shots < 1:
            found.append(f"task.shots: expected 1 or more, but got {self.shots}; the default is 8")
        if self.if_too_few not in IF_TOO_FEW:
            found.append(str(one_of("task.if_too_few", self.if_too_few, IF_TOO_FEW)))
        if self.batch_size == 1:
            found.append("task.batch_size: expected at least 2, but got 1")
        if self.loss.needs_dropout and not self.dropout:
            found.append("task.loss.views: views that differ by dropout only need task.dropout=true")
        known = choices("task/head")
        found += [str(one_of("task.other_heads", name, known)) for name in self.other_heads if name not in known]
        return found
