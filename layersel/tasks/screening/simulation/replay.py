"""One replay of a review by one head: from a few priors on, the best-ranked records are labelled, batch by batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from layersel.tasks.screening.heads.examples import Examples, FittedHead
from layersel.tasks.screening.heads.head import Head
from layersel.tasks.screening.heads.pool import Pool
from layersel.tasks.screening.ranking import rank
from layersel.terminal.progress import progress

# Shapes: N records of the review, M of them no priors.


@dataclass(frozen=True)
class Replay:
    """The course of a reading.

    Attributes:
        order: Indices of the records in the order in which they were read after the priors.
        rounds: For each of them, from which ranking it was taken, the first being 1.
    """

    order: list[int]
    rounds: list[int]

    def scores(self, labels_N: Tensor, rest: Sequence[int]) -> Tensor:
        """Returns a score (M, float64) for each record of `rest`, all but the priors: the earlier read, the higher.

        What was not read counts as read later, the included records last, so that who stops early gains nothing by it.
        """
        read = set(self.order)
        unread = sorted((index for index in rest if index not in read), key=lambda index: int(labels_N[index]))
        place = {index: place for place, index in enumerate([*self.order, *unread])}
        return torch.tensor([-place[index] for index in rest], dtype=torch.float64)


def replay(
    head: Head,
    pool: Pool,
    labelled: Examples,
    priors: Sequence[int],
    sizes: Iterator[int],
    most: int | None = None,
) -> Replay:
    """Reads until all included records are found: ranks the unread ones by all labels so far, and reads the best.

    Of records with the same score the first is read first.

    Args:
        head: Ranks; it is fitted anew in each round.
        pool: The whole review, whose labels the head does not see.
        labelled: The same records with all of their labels, which are the answers of whoever reads.
        priors: Indices of the records whose labels are known before.
        sizes: How many records are read in each round.
        most: Records after which the reading ends at the latest; None = no limit.

    Raises:
        UserError: The priors are too few for the head.
    """
    labels_N = labelled.labels_N
    known, order, rounds = list(priors), list[int](), list[int]()
    unread = sorted(set(range(len(labels_N))) - set(priors))
    left = int(labels_N[unread].sum())
    with progress((), f"simulation, {head.name}", total=left, unit=" found") as bar:
        while left and (most is None or len(order) < most):
            scores = FittedHead.fit(head, labelled.at(known)).scorer(pool)[unread].tolist()
            size = next(sizes) if most is None else min(next(sizes), most - len(order))
            read = [unread[place] for place in rank(scores, len(unread))[:size]]
            rounds += [rounds[-1] + 1 if rounds else 1] * len(read)
            order, known = [*order, *read], [*known, *read]
            unread = sorted(set(unread) - set(read))
            found = int(labels_N[read].sum())
            left -= found
            bar.update(found)
    return Replay(order, rounds)


def batch_sizes(first: int, growth: float) -> Iterator[int]:
    """Yields B, and then always B ← B + ⌈growth·B⌉; with a growth of 0.1 it is AutoTAR's (Cormack and Grossman 2015).

    Example:
        >>> sizes = batch_sizes(9, 0.1)
        >>> [next(sizes) for _ in range(4)]
        [9, 10, 11, 13]
    """
    size = first
    while True:
        yield size
        size += ceil(round(growth * size, 9))


def draw_priors(labels_N: Tensor, included: int, excluded: int, generator: torch.Generator) -> list[int]:
    """Draws so many included and so many excluded records; fewer of the same draw are a subset of more."""
    counts = {1: included, 0: excluded}
    classes = {label: (labels_N == label).nonzero()[:, 0] for label in counts}
    orders = {label: own[torch.randperm(len(own), generator=generator)] for label, own in classes.items()}
    return [int(index) for label, count in counts.items() for index in orders[label][:count]]
