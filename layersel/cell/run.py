"""Runs a cell, unless the same cell has finished before."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from layersel import tables
from layersel.cell.members import Member, training_config
from layersel.cell.merging import MergingRun
from layersel.cell.options import Cell
from layersel.cell.screened import Screened
from layersel.cell.steps import PRUNE, QUANTISE, TRAIN
from layersel.cell.training import TrainingRun
from layersel.config import build
from layersel.errors import UserError
from layersel.files import file_name
from layersel.identity import cell_fingerprint, review_fingerprint
from layersel.merging import MergeMethod
from layersel.run_folder import FINISHED, RunFolder
from layersel.stopwatch import Stopwatch
from layersel.tracking import Tracker, sync_hint, tracked


def run_cell(cell: Cell, config: dict[str, Any]) -> RunFolder:
    """Run a cell, or find the results of the same cell if it has finished before.

    Args:
        cell: The checked options.
        config: The same as plain values, for `config.yaml` and the loggers.

    Returns:
        The finished run's folder.
    """
    if isinstance(cell.merging, MergeMethod):
        return _run_merging(cell, cell.merging, config)
    return _run_training(cell, config)


def _run_training(cell: Cell, config: dict[str, Any]) -> RunFolder:
    clock = Stopwatch()
    with clock("read"):
        screened = Screened.load(cell.data, cell.seed)
    tables.show_review(screened.review, screened.split)
    few_shot = [cell.data.shots, cell.data.if_too_few, review_fingerprint(screened.review)]
    groups = ("task", "pairs", "selection", "adapter")
    budget = "" if cell.selection.n is None else f"{cell.selection.n:g}"
    name = _name(cell, f"{screened.review.name}-{cell.selection.name}{budget}", groups, few_shot)

    def attempt(folder: RunFolder, tracker: Tracker) -> None:
        TrainingRun(cell, screened, folder, tracker, clock).run()

    folder = _recorded(cell, config, name, attempt)
    tables.show_metrics(folder.read_metrics())
    tables.note(f"Everything is in {folder.path}")
    return folder


def _run_merging(cell: Cell, method: MergeMethod, config: dict[str, Any]) -> RunFolder:
    """First the training cells that are missing, then the merging of all."""
    clock = Stopwatch()
    with clock("members"):
        members = _members(cell, method, config)
    names = [member.name for member in members]
    options = {name: value for name, value in asdict(method).items() if name not in ("reviews", "runs")}
    head = [cell.task.head_c, cell.task.normalize]
    deciding = [method.name, options, head, [member.fingerprint() for member in members]]
    name = _name(cell, f"{'+'.join(names)}-{method.name}", (), deciding)

    def attempt(folder: RunFolder, tracker: Tracker) -> None:
        MergingRun(cell, method, members, folder, tracker, clock).run()

    folder = _recorded(cell, config, name, attempt)
    tables.show_merging(folder.read_metrics(), names, compressed=cell.steps != [TRAIN])
    tables.note(f"Everything is in {folder.path}")
    return folder


def _members(cell: Cell, method: MergeMethod, config: dict[str, Any]) -> list[Member]:
    """The runs that are named, checked before any training, and those of the reviews."""
    found = [Member.of(RunFolder(Path(run).expanduser()), cell) for run in method.runs]
    trainings = [training_config(cell, config, review) for review in method.reviews]
    cells = [build(OmegaConf.create(own), Cell) for own in trainings]
    _check_once([member.name for member in found] + [own.data.name for own in cells])
    made = [Member.of(_run_training(*pair), cell) for pair in zip(cells, trainings, strict=True)]
    return [*made, *found]


def _check_once(reviews: list[str]) -> None:
    twice = sorted({name for name in reviews if reviews.count(name) > 1})
    if twice:
        raise UserError(f"merging: expected each review once, but got several adapters of {', '.join(twice)}")


def _recorded(
    cell: Cell, config: dict[str, Any], name: str, attempt: Callable[[RunFolder, Tracker], None]
) -> RunFolder:
    """The folder of that name in which the cell has finished, now or before."""
    folder = RunFolder(Path(cell.output) / name)
    if folder.state == FINISHED and not cell.force:
        tables.note(f"This cell has finished before (force=true runs it again): {folder.path}")
        return folder
    tracking = tracked(cell.logger, folder.path, name, config)
    with folder.recording(config), tracking as tracker, cell.precision.matmuls():
        attempt(folder, tracker)
    tables.note(sync_hint(cell.logger, folder.path))
    return folder


def _name(cell: Cell, title: str, groups: tuple[str, ...], more: list[Any]) -> str:
    """What a person recognises, then the hash of everything that matters, and of nothing that does not."""
    deciding = {name: getattr(cell, name) for name in (*groups, "pruning")}
    precision = asdict(cell.precision)
    formats = (
        precision if cell.precision.quantises else {name: precision[name] for name in ("train", "infer", "matmul")}
    )
    kept = cell.keep_model and bool({PRUNE, QUANTISE} & set(cell.steps))
    identity = cell_fingerprint(deciding, [cell.steps, formats, kept, cell.seed, cell.model.fingerprint(), *more])
    return f"{file_name(title)}-seed{cell.seed}-{identity[:8]}"
