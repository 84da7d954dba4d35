"""Finds the folders of cells from their options, without running anything or loading a model."""

import glob
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from layersel.cell.identity import Identity, merging_identity, training_identity
from layersel.cell.members import Member, check_datasets, name_a_dataset, named_runs, training_configs
from layersel.cell.options import Cell
from layersel.config import build
from layersel.data.source import Dataset
from layersel.merging.method import MergeMethod
from layersel.runs.code import differing
from layersel.runs.folder import FINISHED, RunFolder, finished_runs


@dataclass(frozen=True)
class CellMatch:
    """Where a cell lies.

    Attributes:
        folder: Its folder, which may not exist yet.
        identity: What it is.
        other_code: A finished run of the same cell that other code computed, if the folder has not finished.
        differing: The modules in which that code differs.
    """

    folder: RunFolder
    identity: Identity
    other_code: RunFolder | None = None
    differing: list[str] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """Returns whether the cell has finished, computed by this code."""
        return self.folder.state == FINISHED


class Finder:
    """Tells where cells lie; a dataset that several of them have is read once.

    Attributes:
        other_code: The cells found so far that other code has finished, and that must run again.
    """

    def __init__(self) -> None:
        self.other_code: list[CellMatch] = []
        self._datasets: dict[str, Dataset] = {}

    def find(self, config: DictConfig) -> CellMatch | None:
        """Returns where a cell lies, whatever it would run on.

        Args:
            config: As Hydra composes it.

        Returns:
            None for a merging cell some of whose members have not been trained: what it is shows then.

        Raises:
            UserError: Options that cannot be used, or a dataset or a model that is not there.
        """
        config = name_a_dataset(config)
        cell = build(config, Cell)
        identity = self._identity(cell, config)
        if identity is None:
            return None
        found = match(identity, cell)
        if found.other_code is not None and cell.other_code != "accept":
            self.other_code.append(found)
        return found

    def dataset(self, cell: Cell) -> Dataset:
        """Returns the dataset of a cell."""
        source = repr(cell.data)
        if source not in self._datasets:
            self._datasets[source] = cell.data.load()
        return self._datasets[source]

    def _identity(self, cell: Cell, config: DictConfig) -> Identity | None:
        if not isinstance(cell.merging, MergeMethod):
            return training_identity(cell, self.dataset(cell))
        folders = []
        for own in training_configs(cell, cell.merging, config):
            found = self.find(OmegaConf.create(own))
            folder = None if found is None else chosen_folder(found, cell)
            if folder is None:
                return None
            folders.append(folder)
        members = [Member.of(folder, cell) for folder in [*folders, *named_runs(cell.merging)]]
        check_datasets([member.name for member in members])
        return merging_identity(cell, cell.merging, members)


def match(identity: Identity, cell: Cell) -> CellMatch:
    """Returns where the cell of this identity lies below its output folder, and whether other code has computed it."""
    folder = identity.folder(cell.output)
    if folder.state == FINISHED:
        return CellMatch(folder, identity)
    for other, code in _of_other_code(identity, Path(cell.output)):
        return CellMatch(folder, identity, other, differing(dict(identity.code), code))
    return CellMatch(folder, identity)


def chosen_folder(found: CellMatch, cell: Cell) -> RunFolder | None:
    """Returns the finished folder of a cell, that of other code if it is accepted; None if the cell must run."""
    if found.finished:
        return found.folder
    return found.other_code if cell.other_code == "accept" else None


def _of_other_code(identity: Identity, output: Path) -> Iterator[tuple[RunFolder, dict[str, str]]]:
    """Yields the finished runs that differ from the cell only in their code, the latest first, each with its code."""
    statuses = output.glob(f"{glob.escape(identity.stem)}*/status.json")
    latest_first = sorted(statuses, key=lambda status: status.stat().st_mtime, reverse=True)
    for folder, other, _ in finished_runs(status.parent for status in latest_first):
        if other["but_for_code"] == identity.but_for_code:
            yield folder, other["code"]
