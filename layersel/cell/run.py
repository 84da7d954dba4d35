"""Runs a cell, unless the same cell has finished before."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from layersel.cell.finding import CellMatch, chosen_folder, match
from layersel.cell.identity import Identity, merging_identity, training_identity
from layersel.cell.members import Member, check_datasets, check_unread, name_a_dataset, named_runs, training_configs
from layersel.cell.options import Cell
from layersel.cell.printing import show_merging, show_metrics
from layersel.cell.steps import TRAIN
from layersel.config import build
from layersel.data.source import Dataset
from layersel.errors import UserError
from layersel.merging.method import MergeMethod
from layersel.runs.folder import FAILED, Attempt, RunFolder
from layersel.runs.stopwatch import Stopwatch
from layersel.runs.tracking import report_finished, sync_hint
from layersel.terminal.interrupts import raise_swallowed_interrupt
from layersel.terminal.tables import note, show_table

if TYPE_CHECKING:
    from layersel.cell.attempt import CellAttempt

OnFolder = Callable[[RunFolder], None]


@dataclass(frozen=True)
class Call:
    """A cell, as it was called.

    Attributes:
        cell: The checked options.
        config: The same as plain values, for `config.yaml` and the loggers.
        on_folder: Is given the cell's folder as soon as it is known, before anything happens in it.
    """

    cell: Cell
    config: dict[str, Any]
    on_folder: OnFolder | None = None


def train(config: DictConfig, on_folder: OnFolder | None = None) -> RunFolder:
    """Does what `train.py` does: checks the options, and runs the cell or finds its results.

    Args:
        config: As Hydra composes it.
        on_folder: As in `Call`.

    Returns:
        The finished run's folder.

    Raises:
        UserError: Options that cannot be used, a cell that another process runs or, in a grid, one that has failed
            before, unless `retry` asks for it.
    """
    config = name_a_dataset(config)
    cell = build(config, Cell)
    cell.retry = cell.retry or HydraConfig.get().mode is not RunMode.MULTIRUN
    call = Call(cell, OmegaConf.to_container(config, resolve=True), on_folder)  # type: ignore[arg-type]
    if isinstance(cell.merging, MergeMethod):
        return run_merging(call, cell.merging, config)
    return run_training(call)


def run_training(call: Call) -> RunFolder:
    """Reads the dataset and trains, unless the same cell has finished before."""
    clock = Stopwatch()
    with clock("read"):
        dataset = call.cell.data.load()
    call = suited(call, [dataset])
    cell = call.cell
    identity = training_identity(cell, dataset)
    folder = finished_before(call, identity)
    if folder is None:
        check_machine(cell)
        cell.model.check(cell.check_depth)
        problem = cell.task.problem(dataset, cell.seed)
        folder = identity.folder(cell.output)
        taken = folder.take(cell.force, cell.retry, cell.task.result_files)
        if taken is not None:  # else another process has finished it meanwhile
            from layersel.cell.training_cell import TrainingCell

            with attempted(call, identity, taken, clock) as attempt:
                for line in problem.lines():
                    note(line, once=cell.grid is not None)
                TrainingCell(cell, problem, attempt).run()
    elif cell.grid is not None:
        return folder
    show_metrics(folder.read_metrics(), cell.task)
    shown = cell.task.shown(folder.path)
    if shown is not None:
        show_table(shown.title, shown.columns, shown.rows, alignment="l" * len(shown.columns))
    note(f"Everything is in {folder.path}")
    return folder


def run_merging(call: Call, method: MergeMethod, config: DictConfig) -> RunFolder:
    """Runs the training cells that are missing, then merges all, unless the same cell has finished before.

    Args:
        call: The merging cell, as it was called.
        method: How the adapters are merged.
        config: The options before they are resolved, of which the training cells' are made.
    """
    clock = Stopwatch()
    with clock("members"):
        members = trained_members(call, method, config)
    call = suited(call, [member.dataset for member in members])
    cell = call.cell
    identity = merging_identity(cell, method, members)
    folder = finished_before(call, identity)
    if folder is None:
        check_machine(cell)
        cell.model.check(cell.check_depth)
        folder = identity.folder(cell.output)
        taken = folder.take(cell.force, cell.retry, cell.task.result_files)
        if taken is not None:
            from layersel.cell.merging_cell import MergingCell

            with attempted(call, identity, taken, clock) as attempt:
                MergingCell(cell, method, members, attempt).run()
    elif cell.grid is not None:
        return folder
    names = [member.name for member in members]
    show_merging(folder.read_metrics(), names, cell.task, compressed=cell.steps != [TRAIN])
    note(f"Everything is in {folder.path}")
    return folder


def trained_members(call: Call, method: MergeMethod, config: DictConfig) -> list[Member]:
    """Returns the runs of the datasets, trained if missing, and those that are named, checked before any training."""
    cell = call.cell
    found = [Member.of(folder, cell) for folder in named_runs(method)]
    check_unread(method)
    calls = [
        Call(replace(build(OmegaConf.create(own), Cell), retry=cell.retry), own)
        for own in training_configs(cell, method, config)
    ]
    check_datasets([member.name for member in found] + [own.cell.data.name for own in calls])
    return [*(Member.of(run_training(own), cell) for own in calls), *found]


def suited(call: Call, datasets: Sequence[Dataset]) -> Call:
    """Returns the call with what the datasets decide of the task's options."""
    return replace(call, cell=replace(call.cell, task=call.cell.task.suited(datasets)))


def finished_before(call: Call, identity: Identity) -> RunFolder | None:
    """Returns the folder in which the cell has finished, which is reported; None if it must run.

    Of a grid's cells that had finished before the grid itself tells, in one line each.

    Raises:
        RunFailedError: An earlier attempt failed, and another one was not asked for.
    """
    cell = call.cell
    found = CellMatch(identity.folder(cell.output), identity) if cell.force else match(identity, cell)
    folder = None if cell.force else chosen_folder(found, cell)
    if call.on_folder is not None:
        call.on_folder(found.folder if folder is None else folder)
    if folder is None:
        if found.other_code is not None:
            modules = ", ".join(found.differing)
            note(f"other code computed {found.other_code.path} ({modules} differ); other_code=accept takes it as it is")
        if not (cell.retry or cell.force) and found.folder.state == FAILED:
            raise found.folder.failure()
        return None
    described = identity.described(cell.grid, job_type(cell))
    report_finished(cell.logger, folder.path, described, call.config, folder.read_metrics())
    if cell.grid is None:
        note(f"This cell has finished before (force=true runs it again): {folder.path}")
    return folder


def check_machine(cell: Cell) -> None:
    """Checks what this machine lacks for the cell.

    Raises:
        UserError: Something, a line each.
    """
    lacking = cell.machine_problems()
    if lacking:
        raise UserError("\n".join(lacking))


def job_type(cell: Cell) -> str:
    """Returns what a dashboard calls the cell's work."""
    return "merge" if cell.merging.merges else "train"


@contextmanager
def attempted(call: Call, identity: Identity, taken: Attempt, clock: Stopwatch) -> "Iterator[CellAttempt]":
    """Records and logs the block as the attempt that was taken, after which the process is as it was."""
    from lightning import seed_everything

    from layersel.callbacks.logged_rows import logged_before
    from layersel.cell.attempt import CellAttempt
    from layersel.cell.isolation import isolated
    from layersel.runs.tracking import tracked

    cell, folder = call.cell, identity.folder(call.cell.output)
    described = identity.described(cell.grid, job_type(cell))
    about = identity.to_dict() | {"data": call.config["data"], "model": call.config["model"]}
    results = [*call.cell.task.head_files, *call.cell.task.result_files]
    with isolated(), folder.recording(taken, about, call.config, results):
        raise_swallowed_interrupt()  # by an import
        if taken.resumes:
            note(f"This cell was interrupted and goes on: {folder.path}")
            described = replace(described, resumed=logged_before(folder.checkpoint))
        with tracked(cell.logger, folder.path, described, call.config) as tracker, cell.precision.matmuls():
            cell.trainer.apply_threads()
            seed_everything(cell.seed, verbose=False)  # dropout has no generator of its own
            yield CellAttempt(folder, tracker, clock, taken.resumes)
    note(sync_hint(cell.logger, folder.path))
