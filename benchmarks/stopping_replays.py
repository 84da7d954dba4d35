"""Replays the reading of finished runs' rankings under each of the three stopping rules: what was found, at which cost.

    python benchmarks/stopping_replays.py RUN_FOLDER … [recall=0.95] [draws=100]

Every ranking must be of a review that is labelled to the end. The team reads from the top and looks after every record;
what the run has learnt from counts as read before. The control sample is drawn anew in each of the draws; it is so
large that a fifth more included records are to be expected in it than a certificate needs, which a team cannot know.
A run whose sample cannot have as many reads on to the end, and does not count as certified.
"""

import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch

from layersel.data.reviews.table import Table
from layersel.runs.folder import RunFolder
from layersel.seeding import stream
from layersel.tasks.screening.options import RANKING
from layersel.tasks.screening.stopping import certificate, heuristic, hypergeometric
from layersel.terminal.tables import format_number, show_table

CONFIDENCE = 0.95
RULES = ("heuristic", "hypergeometric", "certificate")


@dataclass(frozen=True)
class Replay:
    """How one reading ended.

    Attributes:
        recall: Of all included records of the review.
        read: The share of its records that were read.
    """

    recall: float
    read: float


def main() -> None:
    """Replays all rankings and prints a row for each review and rule."""
    options = dict(argument.split("=", 1) for argument in sys.argv[1:] if "=" in argument)
    recall, draws = float(options.get("recall", 0.95)), int(options.get("draws", 100))
    replays: dict[tuple[str, str], list[Replay]] = defaultdict(list)
    possible: dict[tuple[str, str], int] = defaultdict(int)
    for folder in [Path(argument) for argument in sys.argv[1:] if "=" not in argument]:
        run = RunFolder(folder)
        review = str(run.read_config()["data"].get("review", folder.name))
        learnt = sorted(int(record["label"]) for record in run.read_training_records())
        labels = [int(label or 0) for label in Table(path=str(run.checked(folder / RANKING))).load().labels]
        for rule, done in [
            ("heuristic", [_by_heuristic(learnt, labels)]),
            ("hypergeometric", [_by_test(learnt, labels, recall)]),
            ("certificate", list(_by_certificate(learnt, labels, recall, draws))),
        ]:
            possible[review, rule] += len(done) if rule != "certificate" else draws
            replays[review, rule] += done
    reviews = sorted({review for review, _ in possible})
    rows = [
        _row(review, rule, replays[review, rule], possible[review, rule], recall)
        for review in reviews
        for rule in RULES
    ]
    for rule in RULES:
        everywhere = [replay for review in reviews for replay in replays[review, rule]]
        rows.append(_row("all", rule, everywhere, sum(possible[review, rule] for review in reviews), recall))
    columns = ["review", "rule", "replays", "may stop", "held", "recall", "least recall", "read"]
    show_table(f"Recall {recall}, confidence {CONFIDENCE}", columns, rows, alignment="llrrrrrr")


def _row(review: str, rule: str, replays: Sequence[Replay], count: int, recall: float) -> list[str]:
    if not replays:
        return [review, rule, str(count), "0.000", *["-"] * 4]
    numbers = (
        len(replays) / count,
        fmean(replay.recall >= recall for replay in replays),
        fmean(replay.recall for replay in replays),
        min(replay.recall for replay in replays),
        fmean(replay.read for replay in replays),
    )
    return [review, rule, str(count), *map(format_number, numbers)]


def _ended(learnt: Sequence[int], labels: Sequence[int], read: set[int]) -> Replay:
    found = sum(learnt) + sum(labels[index] for index in read)
    return Replay(found / (sum(learnt) + sum(labels)), (len(learnt) + len(read)) / (len(learnt) + len(labels)))


def _first_stop(labels: Sequence[int], more_after: Callable[[list[int]], int]) -> set[int]:
    """Returns the records read when a rule first says stop, by how many excluded ones it needs after each included."""
    included = [-1, *(index for index, label in enumerate(labels) if label)]
    for start, following in zip(included, [*included[1:], len(labels)], strict=True):
        more = more_after(list(labels[: start + 1]))
        if more < following - start:
            return set(range(start + 1 + more))
    return set(range(len(labels)))


def _by_heuristic(learnt: list[int], labels: list[int]) -> Replay:
    total = len(learnt) + len(labels)

    def more(read: list[int]) -> int:
        return heuristic.least_to_read(read, len(learnt) + len(read), total)

    return _ended(learnt, labels, _first_stop(labels, more))


def _by_test(learnt: list[int], labels: list[int], recall: float) -> Replay:
    total, alpha = len(learnt) + len(labels), 1 - CONFIDENCE

    def more(read: list[int]) -> int:
        return hypergeometric.least_to_read([*learnt, *read], total, recall, alpha)

    return _ended(learnt, labels, _first_stop(labels, more))


def _by_certificate(learnt: list[int], labels: list[int], recall: float, draws: int) -> Iterator[Replay]:
    needed = certificate.positives_needed(recall, CONFIDENCE)
    size = min(len(labels), math.ceil(1.2 * needed / max(fmean(labels), 1e-9)))
    for draw in range(draws):
        sample = set(torch.randperm(len(labels), generator=stream(draw, "control"))[:size].tolist())
        places = [index for index in sorted(sample) if labels[index]]
        to_find = certificate.positives_to_find(len(places), recall, CONFIDENCE)
        if to_find is not None:
            yield _ended(learnt, labels, sample | set(range(places[to_find - 1] + 1)))


if __name__ == "__main__":
    main()
