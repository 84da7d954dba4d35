"""The split of labelled examples into those that are learnt from and the others, of each class its part."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch

from layersel.data.texts.examples import SPLITS, TEST, TRAIN, VALIDATION, TextDataset
from layersel.errors import UserError
from layersel.seeding import stream
from layersel.tasks.amounts import amount
from layersel.tasks.classification.labels import Labels
from layersel.tasks.classification.options import Classification

SHARE = 0.8
"""The share of the labelled examples that is learnt from where neither the data nor the options say more."""


class Split(NamedTuple):
    """Indices of what is learnt from, of what says when to stop, and of what is tested on."""

    train: list[int]
    validation: list[int]
    test: list[int]


def stratified(groups: Sequence[int], count: int, generator: torch.Generator, least: int = 0) -> list[int]:
    """Draws `count` of the places of `groups` (the class of each example), each class in proportion to its size.

    Args:
        groups: The class of each example; all the same for examples without classes.
        count: How many are drawn, fewer than there are.
        generator: Makes the draw.
        least: Of each class at least so many are drawn, where it has more.

    Returns:
        Places, ascending.

    Example:
        >>> drawn = stratified([0, 0, 0, 0, 1, 1], 3, torch.Generator().manual_seed(0))
        >>> [[0, 0, 0, 0, 1, 1][place] for place in drawn]
        [0, 0, 1]
    """
    members: dict[int, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    ordered = dict(sorted(members.items()))
    quotas = _quotas([len(own) for own in ordered.values()], count, least)
    drawn: list[int] = []
    for own, quota in zip(ordered.values(), quotas, strict=True):
        order = torch.randperm(len(own), generator=generator).tolist()
        drawn += [own[place] for place in order[:quota]]
    return sorted(drawn)


def _quotas(sizes: list[int], count: int, least: int) -> list[int]:
    """Returns how many to draw of each class: as near to its share as `least` and its size allow."""
    ideal = [count * size / sum(sizes) for size in sizes]
    quotas = [min(max(int(share), least), size) for share, size in zip(ideal, sizes, strict=True)]
    while sum(quotas) != count:
        step = 1 if sum(quotas) < count else -1
        possible = [place for place, quota in enumerate(quotas) if least <= quota + step <= sizes[place]]
        # a class that is used up, or that the step would use up, comes last
        nearest = max(
            possible, key=lambda place: (quotas[place] + 1 < sizes[place], step * (ideal[place] - quotas[place]))
        )
        quotas[nearest] += step
    return quotas


def split(task: Classification, dataset: TextDataset, labels: Labels, seed: int | None) -> Split:
    """Returns the data's own split where they have one, or draws it, of each class its part.

    Without a seed none is learnt from, and all are tested on unless the data say which.

    Raises:
        UserError: There is too little to learn from.
    """
    own = {name: [place for place in labels.known if dataset.examples[place].split == name] for name in SPLITS}
    given = any(example.split is not None for example in dataset.examples)
    train = own[TRAIN] if given else labels.known
    test = (own[TEST] or own[VALIDATION]) if given else []
    if seed is None:
        return Split([], [], test or labels.known)
    validation = own[VALIDATION] if own[TEST] and task.patience is not None else []
    if not train:
        raise UserError(f"data: expected labelled rows of the split {TRAIN}, but {dataset.name} has none")
    draws_test, draws_validation = not test, task.patience is not None and not validation
    _check(dataset, labels, train, 1 + draws_test + draws_validation)
    if draws_test or task.train is not None:
        share = SHARE if task.train is None else task.train
        needed = 1 + draws_validation
        train, rest = _drawn("train", share, train, labels, seed, needed, spare=int(draws_test))
        test = test or rest
    if draws_validation:
        validation, train = _drawn("validation", task.validation, train, labels, seed, 1, spare=1)
    return Split(train, validation, test)


def _drawn(
    name: str, value: float, places: list[int], labels: Labels, seed: int, least: int, spare: int
) -> tuple[list[int], list[int]]:
    """Returns so many of the places, and the others; of each class `least` are drawn and `spare` are left."""
    groups = _groups(labels, places)
    count, n_classes = amount(value, len(places)), len(set(groups))
    most = len(places) - spare * n_classes
    if not least * n_classes <= count <= most:
        raise UserError(
            f"task.{name}: expected {least * n_classes} to {most} of the {len(places)} examples that are left to "
            f"choose from, but got {count}"
        )
    drawn = {places[place] for place in stratified(groups, count, stream(seed, name), least)}
    return sorted(drawn), [place for place in places if place not in drawn]


def _groups(labels: Labels, places: list[int]) -> list[int]:
    """Returns the class of each example; numbers are of one class."""
    return [int(labels.values[place]) if labels.classes else 0 for place in places]


def _check(dataset: TextDataset, labels: Labels, places: list[int], needed: int) -> None:
    """Checks that there are two classes, or numbers that differ, and of each class as many examples as parts."""
    values = Counter(labels.values[place] for place in places)
    if not labels.classes and (len(values) < 2 or len(places) <= needed):
        raise UserError(f"data: expected numbers that differ to learn from, but {dataset.name} has too few")
    if not labels.classes:
        return
    if len(values) < 2:
        (only,) = values
        raise UserError(
            f"data: expected labels of two or more classes to learn from, but all of {dataset.name} are "
            f"{labels.classes[int(only)]!r}"
        )
    value, count = min(values.items(), key=lambda item: item[1])
    if count < needed:
        raise UserError(
            f"data: expected at least {needed} examples of each class, one for each part of the split, but "
            f"{labels.classes[int(value)]!r} has {count}; label more, or leave the class out"
        )
