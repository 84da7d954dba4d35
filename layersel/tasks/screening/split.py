"""The few-shot split: K records of each class to learn from, every other labelled record to test on."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from layersel.errors import UserError, one_of

if TYPE_CHECKING:
    import torch

IF_TOO_FEW = ("error", "reduce")

_log = logging.getLogger(__name__)


class Split(NamedTuple):
    """Indices of the training and the test records, each in ascending order."""

    train: list[int]
    test: list[int]


def few_shot_split(
    labels: Sequence[int | None],
    shots: int | None,
    generator: "torch.Generator",
    if_too_few: str = "error",
    spare: int = 1,
) -> Split:
    """Draw `shots` included and `shots` excluded records; unlabelled ones are on neither side.

    With the same generator state, fewer shots draw a subset of what more shots draw.

    Args:
        labels: 1 included, 0 excluded, None not labelled.
        shots: Records drawn from each class; None takes all labelled records, whose classes may differ in size then.
        generator: Source of the draw.
        if_too_few: When a class has fewer than shots + spare records: `error`, or `reduce` the shots of both classes
            alike until that many are left.
        spare: Records of each class that must be left to test on unless all are taken; 0 where other records wait to be
            ranked.

    Raises:
        UserError: A class has fewer than shots + spare records, or fewer than 1 + spare when shots may be reduced, or
            none when all are taken.

    Example:
        >>> import torch
        >>> few_shot_split([0, 1, None, 0, 1, 0], shots=1, generator=torch.Generator().manual_seed(0))
        Split(train=[0, 1], test=[3, 4, 5])
    """
    import torch

    classes = {label: [index for index, known in enumerate(labels) if known == label] for label in (1, 0)}
    counts = {label: len(members) for label, members in classes.items()}
    shots = _possible_shots(counts, shots, if_too_few, spare)
    train: set[int] = set()
    for members in classes.values():
        order = torch.randperm(len(members), generator=generator).tolist()
        train.update(members[place] for place in order[:shots])
    test = [index for index, label in enumerate(labels) if label is not None and index not in train]
    return Split(sorted(train), test)


def _possible_shots(counts: dict[int, int], shots: int | None, if_too_few: str, spare: int) -> int:
    if if_too_few not in IF_TOO_FEW:
        raise one_of("task.if_too_few", if_too_few, IF_TOO_FEW)
    if shots is not None and shots < 1:
        raise UserError(f"task.shots: expected 1 or more, but got {shots}")
    spare = 0 if shots is None else spare
    most = min(counts.values()) - spare
    if shots is not None and shots <= most:
        return shots
    found = f"{counts[1]} included and {counts[0]} excluded records"
    if most < 1:
        raise UserError(
            f"task.shots: expected {1 + spare} or more labelled records of each class, but got {found}; label more"
        )
    if shots is None:
        return max(counts.values())
    if if_too_few == "error":
        raise UserError(
            f"task.shots: {shots} to learn from and {spare} to test on need {shots + spare} of each class, "
            f"but got {found}; set task.shots={most} or task.if_too_few=reduce"
        )
    _log.warning("task.shots: reduced from %d to %d, because there are %s", shots, most, found)
    return most
