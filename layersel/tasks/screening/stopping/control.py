"""The random control sample of a review, which is read before and apart from the ranking."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from omegaconf import MISSING

from layersel.data.reviews.table import Table
from layersel.data.source import Dataset, Source
from layersel.errors import UserError
from layersel.runs.fingerprints import text_fingerprint
from layersel.seeding import stream
from layersel.tasks.screening.options import Screening
from layersel.tasks.stopping import Advice, Stopping
from layersel.tasks.task import Task

if TYPE_CHECKING:
    from layersel.data.reviews.records import Review
    from layersel.runs.folder import RunFolder
    from layersel.tasks.problem import Problem, Subject

CONTROL = "control"


@dataclass
class ControlSample(Stopping):
    """A random draw of the records that a run has not learnt from, which the run's seed decides.

    A larger draw of the same records has all of a smaller one, in whichever order the file has them.
    """

    size: int = MISSING
    """How many records to draw. A certificate of 95 % recall at 95 % confidence needs 59 or more included ones among
    them; of 90 %, 29; of 80 %, 14."""

    takes: ClassVar[type[Task]] = Screening
    files: ClassVar[tuple[str, ...]] = (".csv", ".xlsx")

    def problems(self) -> list[str]:
        """Returns one line for a size that is out of range."""
        return (
            [] if self.size >= 1 else [f"stopping.size: expected 1 or more, but got {self.size}; --help says how many"]
        )

    def source(self, path: str, like: Source | None) -> Source:
        """Returns the file of records, which keep the labels that they have."""
        return Table.at(path, like)

    def check(self, dataset: Dataset, run: "RunFolder") -> None:
        """Refuses an earlier sample that cannot be read."""
        from layersel.tasks.screening.stopping.reading import read_control

        records = cast("Review", dataset).records
        if any(CONTROL in record.fields for record in records):
            read_control(records, CONTROL)

    def predict(self, problem: "Problem", subject: "Subject", head: Any, run: "RunFolder", path: Path) -> Advice:
        """Writes the ranking with the sample in its column "control".

        Raises:
            UserError: There are fewer records, or the column has an earlier sample that is no part of this one.
        """
        from layersel.tasks.screening.problem import ScreeningProblem
        from layersel.tasks.screening.ranking import write_ranking
        from layersel.tasks.screening.stopping.reading import read_control

        if not isinstance(problem, ScreeningProblem):
            raise TypeError("expected a review")
        records, learnt = problem.dataset.records, run.read_learnt()
        texts = [text_fingerprint(text) for text in subject.texts.texts]
        drawn = draw_control(texts, learnt, self.size, run.read_config()["seed"])
        marks = [index in drawn for index in range(len(records))]
        if any(CONTROL in record.fields for record in records):
            before = read_control(records, CONTROL)
            lost = sum(earlier and not mark for earlier, mark in zip(before, marks, strict=True))
            if lost:
                raise UserError(
                    f"stopping.size: expected a draw that enlarges the sample in {CONTROL!r}, but {lost} of its "
                    f"{sum(before)} records are not in the {self.size} drawn; give more, or leave the column out"
                )
        marked = [
            replace(record, fields={**record.fields, CONTROL: str(int(mark))})
            for record, mark in zip(records, marks, strict=True)
        ]
        write_ranking(path, marked, problem.scores(head, subject.vectors()).tolist())
        line = (
            f"{sum(marks)} random records are marked in the column {CONTROL!r}: label them first, all of them: {path}"
        )
        return Advice([line], {"n_drawn": sum(marks)})


def draw_control(texts: Sequence[str], learnt: Container[str], size: int, seed: int) -> set[int]:
    """Returns the indices of the drawn texts, the same texts whatever their order.

    Args:
        texts: The fingerprint of each record's text.
        learnt: Those that are not drawn from.
        size: How many to draw.
        seed: Of the draw.

    Raises:
        UserError: There are not as many.
    """
    import torch

    others = sorted((text, index) for index, text in enumerate(texts) if text not in learnt)
    if size > len(others):
        raise UserError(f"stopping.size: expected {len(others)} records or fewer, but got {size}; there are no more")
    order = torch.randperm(len(others), generator=stream(seed, "control")).tolist()
    return {others[place][1] for place in order[:size]}
