"""Several heads' replays of one review from the same priors, and what is written of them."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from layersel.data.reviews.records import Review
from layersel.errors import UserError
from layersel.files import atomic_path, write_json
from layersel.metrics.discovery import discovery_metrics
from layersel.runs.fingerprints import text_fingerprint
from layersel.seeding import stream
from layersel.tasks.problem import Subject
from layersel.tasks.screening.figures import gain_curves
from layersel.tasks.screening.heads.head import Head, check_protocol
from layersel.tasks.screening.heads.named import head_named, name_of
from layersel.tasks.screening.heads.pool import Pool
from layersel.tasks.screening.problem import ScreeningProblem
from layersel.tasks.screening.simulation.options import ReplaySimulation
from layersel.tasks.screening.simulation.replay import Replay, batch_sizes, draw_priors, replay
from layersel.terminal.figures import PNG, SVG, write_figures

ORDER, METRICS = "order.csv", "metrics.json"
_COLUMNS = ("head", "place", "round", "record_id", "title", "included", "recall")

# Shapes: N records of the review, M of them no priors.


@dataclass(frozen=True)
class Comparison:
    """Replays by head.

    Attributes:
        review: The review.
        labels_N: Its labels.
        priors: Indices of the records whose labels were known before.
        origin: What the priors are.
        replays: The course of the reading by each head.
    """

    review: Review
    labels_N: Tensor
    priors: list[int]
    origin: str
    replays: Mapping[str, Replay]

    @classmethod
    def of(
        cls, options: ReplaySimulation, problem: ScreeningProblem, subject: Subject, learnt: frozenset[str], seed: int
    ) -> "Comparison":
        """Replays the review for each head.

        Raises:
            UserError: The priors are too few for a head, or have all included records.
        """
        labels_N = problem.labels
        texts = subject.texts.texts[: len(labels_N)]
        seen = [index for index, text in enumerate(texts) if text_fingerprint(text) in learnt]
        priors, origin = _priors(options, problem, seen, seed)
        heads = _heads(options, problem, subject.backbone.n_parts)
        for name, head in heads.items():
            if head.needs_excluded and bool(labels_N[priors].all()):
                raise UserError(
                    f"simulation: the head {name} learns from excluded records too, but no prior is; give "
                    "simulation.excluded=1 or more, or name some in simulation.prior_ids"
                )
        if not bool(labels_N[priors].any()):
            raise UserError("simulation.prior_ids: expected an included record among them, but got none; name one")
        if labels_N[priors].sum() == labels_N.sum():
            raise UserError(f"simulation: expected included records to find, but all are priors ({origin})")
        labelled = problem.examples(subject)
        pool = Pool(labelled.vectors_ND, labelled.texts)
        replays = {
            name: replay(head, pool, labelled, priors, batch_sizes(options.batch, options.growth), options.most)
            for name, head in heads.items()
        }
        return cls(problem.dataset, labels_N, priors, origin, replays)

    def lines(self) -> list[str]:
        """Returns what the priors are, and what was found where a reading ended early."""
        included = int(self.labels_N[self.priors].sum())
        to_read = f"{len(self._rest)} records to read, {self._to_find} of them included"
        lines = [
            f"{len(self.priors)} priors, {included} of them included: {self.origin}",
            f"{to_read}; texts are encoded once, and between the batches no adapter is trained: only the head learns",
        ]
        for name, done in self.replays.items():
            found = int(self.labels_N[done.order].sum())
            if found < self._to_find:
                ended = f"{name}: {found} of {self._to_find} are found in {len(done.order)} records"
                lines.append(f"{ended}; in the metrics the others count as found at the very end")
        return lines

    def metrics(self) -> dict[str, dict[str, float]]:
        """Returns the metrics of each head, of the records that are no priors, and how much it read and ranked."""
        labels_M = self.labels_N[self._rest]
        return {
            name: {
                **discovery_metrics(scores_M, labels_M),
                "n_read": len(self.replays[name].order),
                "n_rankings": max(self.replays[name].rounds),
            }
            for name, scores_M in self._scores.items()
        }

    def write(self, folder: Path) -> None:
        """Writes order.csv, metrics.json, and the recall curves as recall.png and recall.svg."""
        with atomic_path(folder / ORDER) as draft, draft.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(_COLUMNS)
            for name in self.replays:
                writer.writerows([name, *row] for row in self._rows(name))
        priors = [self.review.records[index].id for index in self.priors]
        counts = {"n_priors": len(priors), "n_records": len(self._rest), "n_included": self._to_find}
        write_json(folder / METRICS, {**counts, "priors": priors, "heads": self.metrics()})
        write_figures({"recall": gain_curves(self._scores, self.labels_N[self._rest])}, folder, (PNG, SVG))

    def _rows(self, name: str) -> list[list[object]]:
        """Returns a row for each record: the priors at place 0 of round 0, then the others in the order of reading."""
        done, found, rows = self.replays[name], 0, list[list[object]]()
        course = [(0, 0, prior) for prior in self.priors]
        course += [(at, turn, read) for at, (turn, read) in enumerate(zip(done.rounds, done.order, strict=True), 1)]
        for place, turn, index in course:
            record = self.review.records[index]
            found += place > 0 and record.label == 1
            rows.append([place, turn, record.id, record.title, record.label, f"{found / self._to_find:.5f}"])
        return rows

    @cached_property
    def _rest(self) -> list[int]:
        priors = set(self.priors)
        return [index for index in range(len(self.labels_N)) if index not in priors]

    @cached_property
    def _to_find(self) -> int:
        return int(self.labels_N[self._rest].sum())

    @cached_property
    def _scores(self) -> dict[str, Tensor]:
        return {name: done.scores(self.labels_N, self._rest) for name, done in self.replays.items()}


def _priors(
    options: ReplaySimulation, problem: ScreeningProblem, seen: Sequence[int], seed: int
) -> tuple[list[int], str]:
    """Returns the indices of the priors, and what they are; `seen` has those that the model has learnt from."""
    place = {record.id: index for index, record in enumerate(problem.dataset.records)}
    named = [place[name] for name in dict.fromkeys(options.prior_ids or [])]
    if seen:
        known = set(seen)
        more = [index for index in named if index not in known]
        return [*seen, *more], "what the model has learnt from" + (", and those named" if more else "")
    if named:
        return named, "named by simulation.prior_ids"
    return draw_priors(problem.labels, options.included, options.excluded, stream(seed, "priors")), "drawn by the seed"


def _heads(options: ReplaySimulation, problem: ScreeningProblem, n_parts: int) -> dict[str, Head]:
    """Returns the heads by name, the task's own first.

    Raises:
        UserError: One compares layers, and the vectors are of one layer; or one needs a protocol, and there is none.
    """
    own = problem.task.head
    others = {name: head_named(name) for name in options.heads}
    own_name = name_of(own)
    heads = {own_name if others.get(own_name, own) == own else "task_head": own} | others
    for name, head in heads.items():
        check_protocol(head, problem.dataset, f"simulation.heads={name}")
        if head.compares_layers and n_parts == 1:
            raise UserError(
                f"simulation.heads={name}: expected the vectors of several layers side by side, but got one; give "
                "model.layers=all model.combine=concat"
            )
    return heads
