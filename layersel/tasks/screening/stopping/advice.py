"""Advice on when to stop reading a ranking, in three tiers: a heuristic, a test and a certificate."""

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from layersel.data.reviews.table import Table
from layersel.data.source import Dataset, Source
from layersel.errors import UserError
from layersel.files import write_json
from layersel.runs.fingerprints import text_fingerprint
from layersel.tasks.screening.options import RANKING, Screening
from layersel.tasks.screening.stopping.control import CONTROL
from layersel.tasks.stopping import Advice, Stopping
from layersel.tasks.task import Task

if TYPE_CHECKING:
    from layersel.data.reviews.records import Review
    from layersel.runs.folder import RunFolder
    from layersel.tasks.problem import Problem, Subject
    from layersel.tasks.screening.stopping.reading import Reading


@dataclass
class StoppingAdvice(Stopping):
    """When a team that reads a run's ranking may stop.

    What the run has learnt from counts as read before all others, unless `order_column` says when it was read. Where
    the order is not known, there and within the control sample, excluded records count as read before included ones.

    The recall is that of all records of the run's review. The test assumes that records were read from the likeliest
    included to the least, as they are ranked. The certificate assumes a control sample that was drawn from all records
    that the run has not learnt from and is labelled apart from the reading; it may be enlarged to have enough included
    records, but not for where they stand in the ranking.
    """

    recall: float = 0.95
    """The recall to reach (target τ), between 0 and 1: for the test and the certificate."""
    confidence: float = 0.95
    """The confidence of the test (1 - alpha) and of the certificate, between 0 and 1."""
    order_column: str | None = None
    """Column of records=FILE that says when each was read, as numbers or dates; null: the control sample first, then in
    the order of this ranking."""
    control_column: str | None = None
    """Column of records=FILE with 1 for each record of the random control sample and 0 for the others, as
    stopping=control draws it; null: there is none, and no certificate."""
    consecutive: int = 50
    """Records in a row that must be excluded: for the heuristic."""
    least_share: float = 0.1
    """The share of all records that must be read, from 0 to 1: for the heuristic."""

    takes: ClassVar[type[Task]] = Screening
    files: ClassVar[tuple[str, ...]] = Screening.prediction_files

    def problems(self) -> list[str]:
        """Returns one line for each option that is out of range."""
        found = [
            f"stopping.{name}: expected a number between 0 and 1, but got {value}; the default is 0.95"
            for name, value in (("recall", self.recall), ("confidence", self.confidence))
            if not 0 < value < 1
        ]
        if self.consecutive < 1:
            found.append(f"stopping.consecutive: expected 1 or more, but got {self.consecutive}; the default is 50")
        if not 0 <= self.least_share <= 1:
            found.append(f"stopping.least_share: expected 0 to 1, but got {self.least_share}; the default is 0.1")
        return found

    def source(self, path: str, like: Source | None) -> Source:
        """Returns the file of records, whose labels are read."""
        return Table.at(path, like)

    def check(self, dataset: Dataset, run: "RunFolder") -> None:
        """Refuses records without a label, those of another review, and columns that cannot be used."""
        from layersel.tasks.screening.stopping.reading import column, has_control, read_control

        review = cast("Review", dataset)
        if not review.report.included + review.report.excluded:
            why = review.report.no_labels
            raise UserError(f"stopping=advice: expected records with the labels given so far, but got none; {why}")
        if self.control_column is not None:
            read_control(review.records, self.control_column)
        elif has_control(review.records, CONTROL):
            raise UserError(
                f"stopping.control_column: expected the column of the control sample, but got none, and the file has "
                f"one; give stopping.control_column={CONTROL}, or take the column out of the file"
            )
        if self.order_column is not None:
            column(review.records, "stopping.order_column", self.order_column)
        _absent(review, run)

    def predict(self, problem: "Problem", subject: "Subject", head: Any, run: "RunFolder", path: Path) -> Advice:
        """Writes the ranking, and what the three tiers say beside it, as .stopping.json.

        Raises:
            UserError: The time of reading is not known of a labelled record.
        """
        from layersel.tasks.screening.problem import ScreeningProblem
        from layersel.tasks.screening.ranking import rank, write_ranking
        from layersel.tasks.screening.stopping.reading import Reading, read_control, read_times

        if not isinstance(problem, ScreeningProblem):
            raise TypeError("expected a review")
        review, records = problem.dataset, problem.dataset.records
        learnt = {record["text"]: int(record["label"]) for record in run.read_training_records()}
        texts = [text_fingerprint(text) for text in subject.texts.texts]
        control = None if self.control_column is None else read_control(records, self.control_column)
        times = None if self.order_column is None else read_times(records, self.order_column, texts, learnt)
        scores = problem.scores(head, subject.vectors()).tolist()
        reading = Reading.of(records, texts, rank(scores, len(records)), learnt, times, control)
        advice = self.of(reading)
        write_ranking(path, records, scores)
        write_json(path.with_suffix(".stopping.json"), advice.values)
        lacking = _lacking(_absent(review, run), learnt.keys() - {*texts}, len(learnt))
        return replace(advice, lines=[*advice.lines, *lacking, f"the ranking: {path}"])

    def of(self, reading: "Reading") -> Advice:
        """Returns what there is to say of a partly read review."""
        from layersel.tasks.screening.stopping.tiers import by_certificate, by_heuristic, by_test

        included = sum(reading.labels)
        lines = [f"{reading.n_read} of {reading.n_records} records are read, {included} of them included"]
        if reading.learnt_first:
            lines[0] += f"; {reading.learnt_first} that the run has learnt from count as read first"
        tiers = {
            "heuristic": by_heuristic(reading, self.consecutive, self.least_share),
            "hypergeometric": by_test(reading, self.recall, self.confidence),
            "certificate": by_certificate(reading, self.recall, self.confidence),
        }
        if reading.n_read == reading.n_records:
            lines.append("nothing is left to read: all included records are found")
        else:
            lines += [self._order_line(reading), *(tier.says for tier in tiers.values())]
        said = {name: {"stop": tier.stop, "more": tier.more, **tier.details} for name, tier in tiers.items()}
        counts = {"n_records": reading.n_records, "n_read": reading.n_read, "n_included": included}
        return Advice(lines, {**counts, **asdict(self), **said})

    def _order_line(self, reading: "Reading") -> str:
        """Returns how the order of reading is known, and what speaks against it."""
        if self.order_column is not None:
            return f"order of reading: by {self.order_column!r}"
        first = "" if reading.control is None else "the control sample, then "
        line = f"order of reading: {first}as ranked here"
        if reading.below:
            line += f", though {reading.below} of the records read stand below unread ones"
        return f"{line}; stopping.order_column=NAME names the true one"


def _lacking(ranked: int, learnt: Collection[str], of: int) -> list[str]:
    """Returns what there is to say of records that are not in the file: ranked ones, and some that were learnt from.

    The file may lack all that were learnt from, as the run's own ranking does.
    """
    lines = []
    if ranked:
        lines.append(f"{ranked} records that the run has ranked are not in the file: all this is of the records there")
    if 0 < len(learnt) < of:
        lines.append(
            f"{len(learnt)} of the {of} records that the run has learnt from are not in the file as they were: they "
            "count as read beside those in it, and twice if their texts have changed"
        )
    return lines


def _absent(review: "Review", run: "RunFolder") -> int:
    """Returns how many of the records that a run has ranked are not in the file.

    Raises:
        UserError: None of them is.
    """
    from layersel.tasks.screening.problem import record_text

    ranked = Table(path=str(run.path / RANKING), label_level="none").load()  # which may have labels by now
    own, given = ({text_fingerprint(record_text(record, " ")) for record in part.records} for part in (ranked, review))
    if own.isdisjoint(given):
        raise UserError(
            f"records: expected the records of the run's own review, but {review.name} has none of those in "
            f"its {RANKING}; give the file that is read in this ranking"
        )
    return len(own - given)
