"""The options of a simulation, and what it compares: the heads, from the same priors, on the same vectors."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from layersel.config import choices
from layersel.data.reviews.records import Review
from layersel.data.source import Dataset
from layersel.errors import UserError, one_of
from layersel.tasks.screening.options import Screening
from layersel.tasks.simulation import Simulated, Simulation
from layersel.tasks.task import Task

if TYPE_CHECKING:
    from layersel.tasks.problem import Problem, Subject


@dataclass
class ReplaySimulation(Simulation):
    """A labelled review is read anew: the head of the task, and others beside it, rank it, and learn from what is read.

    Texts are encoded once and no adapter is trained between the batches: only the head learns from the new labels.
    Records that a run's adapter has learnt from are the priors then, and none are drawn.
    """

    heads: list[str] = field(default_factory=lambda: ["nearest", "elas_u4"])
    """Heads that are compared with the task's own, with the options that their files in conf/task/head give them."""
    included: int = 1
    """Included records that are drawn as priors, whose labels are known from the start; for every head the same."""
    excluded: int = 1
    """Excluded records that are drawn as priors."""
    prior_ids: list[str] | None = None
    """Identifiers of the records that are the priors, instead of a draw."""
    batch: int = 1
    """Records that are read before the first new ranking."""
    growth: float = 0.1
    """The share of itself, rounded up, by which a batch B is larger than the one before, as in AutoTAR (Cormack and
    Grossman 2015); with batch=1 and growth=0 the ranking is made anew after every record, as by `asreview simulate`."""
    most: int | None = None
    """Records after which the reading ends at the latest; null: when all included ones are found."""

    takes: ClassVar[type[Task]] = Screening

    def problems(self) -> list[str]:
        """Returns one line for each option that is out of range."""
        known = choices("task/head")
        found = [str(one_of("simulation.heads", name, known)) for name in self.heads if name not in known]
        least = {"included": 1, "excluded": 0, "batch": 1, "growth": 0, "most": 1}
        for name, lowest in least.items():
            value = getattr(self, name)
            if value is not None and not lowest <= value < float("inf"):
                found.append(f"simulation.{name}: expected {lowest} or more, but got {value}")
        if self.prior_ids is not None and not self.prior_ids:
            found.append("simulation.prior_ids: expected identifiers, but got none; leave it out for a draw")
        return found

    def replayed(self, dataset: Dataset) -> Review:
        """Returns the labelled records.

        Raises:
            UserError: None is included, or the priors are not among them.
        """
        if not isinstance(dataset, Review):
            raise TypeError("expected a review")
        labels = dataset.labels
        if 1 not in labels:
            why = dataset.report.no_labels or "give a review that is labelled to the end"
            raise UserError(f"simulation: expected included records to find, but {dataset.name} has none; {why}")
        for label, name in ((1, "included"), (0, "excluded")):
            count, wanted = labels.count(label), getattr(self, name)
            if self.prior_ids is None and wanted > count - label:
                raise UserError(
                    f"simulation.{name}: expected at most {count - label} of the {count} records that are {name} in "
                    f"{dataset.name}, but got {wanted}"
                )
        known = {record.id for record in dataset.records if record.label is not None}
        absent = [name for name in self.prior_ids or [] if name not in known]
        if absent:
            raise UserError(
                f"simulation.prior_ids: expected identifiers of labelled records, such as {min(known)}, but got "
                f"{absent[0]}; the column record_id of a ranking has them"
            )
        left_out = len(labels) - len(known)
        if not left_out:
            return dataset
        line = f"{left_out} records without a label are left out, as their reading cannot be replayed"
        report = replace(dataset.report, notes=(*dataset.report.notes, line))
        return replace(dataset, records=tuple(r for r in dataset.records if r.label is not None), report=report)

    def run(self, problem: "Problem", subject: "Subject", learnt: frozenset[str], seed: int, folder: Path) -> Simulated:
        """Replays the review for each head; writes the order of the records, the metrics and the recall curves.

        Raises:
            UserError: The priors are too few for a head, or have all included records.
        """
        from layersel.tasks.screening.problem import ScreeningProblem
        from layersel.tasks.screening.simulation.comparison import Comparison

        if not isinstance(problem, ScreeningProblem):
            raise TypeError("expected a review")
        done = Comparison.of(self, problem, subject, learnt, seed)
        done.write(folder)
        return Simulated(done.lines(), done.metrics())
