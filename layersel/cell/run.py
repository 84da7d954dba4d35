"""Runs a cell, unless the same cell has finished before."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from layersel.callbacks import logged_before
from layersel.cell.identity import Identity, merging_identity, training_identity
from layersel.cell.isolation import isolated
from layersel.cell.members import Member, name_a_review, training_config
from layersel.cell.merging import MergingRun
from layersel.cell.options import Cell
from layersel.cell.steps import TRAIN
from layersel.cell.training import TrainingRun
from layersel.config import build
from layersel.errors import UserError
from layersel.merging.method import MergeMethod
from layersel.runs.folder import FINISHED, Attempt, RunFolder
from layersel.runs.stopwatch import Stopwatch
from layersel.runs.tracking import Tracker, report_finished, sync_hint, tracked
from layersel.tasks.screening.problem import Screened
from layersel.terminal import tables

Naming = Callable[[RunFolder], None]


def train(config: DictConfig, named: Naming | None = None) -> RunFolder:
    """What `train.py` does: compose, check, run, report.

    Args:
        config: As Hydra composes it.
        named: Is told the cell's folder as soon as it is known, before anything happens in it.

    Raises:
        UserError: Options that cannot be used, a cell that another process runs or, in a grid, one that has failed
            before, unless `retry` asks for it.
    """
    config = name_a_review(config)
    cell = build(config, Cell)
    cell.retry = cell.retry or HydraConfig.get().mode is not RunMode.MULTIRUN
    return run_cell(cell, OmegaConf.to_container(config, resolve=True), named)  # type: ignore[arg-type]


def run_cell(cell: Cell, config: dict[str, Any], named: Naming | None = None) -> RunFolder:
    """Run a cell, or find the results of the same cell if it has finished before.

    Args:
        cell: The checked options.
        config: The same as plain values, for `config.yaml` and the loggers.
        named: As in `train`.

    Returns:
        The finished run's folder.
    """
    with isolated():
        if isinstance(cell.merging, MergeMethod):
            return _run_merging(cell, cell.merging, config, named)
        return _run_training(cell, config, named)


def _run_training(cell: Cell, config: dict[str, Any], named: Naming | None = None) -> RunFolder:
    clock = Stopwatch()
    with clock("read"):
        screened = Screened.load(cell.data, cell.seed)

    def attempt(folder: RunFolder, taken: Attempt, tracker: Tracker) -> None:
        tables.show_review(screened.review, screened.split)
        TrainingRun(cell, screened, folder, tracker, clock, resumes=taken.resumes).run()

    identity = training_identity(cell, screened.review)
    if cell.force or identity.folder(cell.output).state != FINISHED:
        cell.model.check(cell.selection.budget)
    folder, told = _recorded(cell, config, identity, attempt, named)
    if told:
        tables.show_metrics(folder.read_metrics())
        tables.note(f"Everything is in {folder.path}")
    return folder


def _run_merging(cell: Cell, method: MergeMethod, config: dict[str, Any], named: Naming | None) -> RunFolder:
    """First the training cells that are missing, then the merging of all."""
    clock = Stopwatch()
    with clock("members"):
        members = _members(cell, method, config)

    def attempt(folder: RunFolder, taken: Attempt, tracker: Tracker) -> None:
        MergingRun(cell, method, members, folder, tracker, clock).run()

    folder, told = _recorded(cell, config, merging_identity(cell, method, members), attempt, named)
    if told:
        names = [member.name for member in members]
        tables.show_merging(folder.read_metrics(), names, compressed=cell.steps != [TRAIN])
        tables.note(f"Everything is in {folder.path}")
    return folder


def _members(cell: Cell, method: MergeMethod, config: dict[str, Any]) -> list[Member]:
    """The runs that are named, checked before any training, and those of the reviews."""
    found = [Member.of(RunFolder(Path(run).expanduser()), cell) for run in method.runs]
    trainings = [training_config(cell, config, review) for review in method.reviews]
    cells = [replace(build(OmegaConf.create(own), Cell), retry=cell.retry) for own in trainings]
    _check_once([member.name for member in found] + [own.data.name for own in cells])
    made = [Member.of(_run_training(*pair), cell) for pair in zip(cells, trainings, strict=True)]
    return [*made, *found]


def _check_once(reviews: list[str]) -> None:
    twice = sorted({name for name in reviews if reviews.count(name) > 1})
    if twice:
        raise UserError(f"merging: expected each review once, but got several adapters of {', '.join(twice)}")


def _recorded(
    cell: Cell,
    config: dict[str, Any],
    identity: Identity,
    attempt: Callable[[RunFolder, Attempt, Tracker], None],
    named: Naming | None,
) -> tuple[RunFolder, bool]:
    """The cell's folder, in which it has finished, now or before, and whether a person is told its results.

    Of a grid's cells that had finished before the grid itself tells, in one line each.
    """
    folder = identity.folder(cell.output)
    if named is not None:
        named(folder)
    described = identity.described(cell.grid, "merge" if cell.merging.merges else "train")
    taken = folder.take(cell.force, cell.retry)
    if taken is None:
        report_finished(cell.logger, folder.path, described, config, folder.read_metrics())
        told = cell.grid is None
        if told:
            tables.note(f"This cell has finished before (force=true runs it again): {folder.path}")
        return folder, told
    about = identity.to_dict() | {"data": config["data"], "model": config["model"]}
    with folder.recording(taken, about, config):
        if taken.resumes:
            tables.note(f"This cell was interrupted and goes on: {folder.path}")
            described = replace(described, resumed=logged_before(folder.checkpoint))
        with tracked(cell.logger, folder.path, described, config) as tracker, cell.precision.matmuls():
            attempt(folder, taken, tracker)
    tables.note(sync_hint(cell.logger, folder.path))
    return folder, True
