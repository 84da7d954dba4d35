"""Finds the folders of cells from their options, without running anything."""

from omegaconf import DictConfig, OmegaConf

from layersel.cell.identity import training_identity
from layersel.cell.options import Cell
from layersel.config import build
from layersel.data.reviews.records import Review
from layersel.runs.folder import RunFolder


class Finder:
    """Tells where cells lie; a review that several of them have is read once."""

    def __init__(self) -> None:
        self._reviews: dict[str, Review] = {}

    def folder(self, config: DictConfig) -> RunFolder | None:
        """The folder of a training cell, whatever it would run on.

        Args:
            config: As Hydra composes it.

        Returns:
            None for a merging cell: what it is shows when its members have been trained.

        Raises:
            UserError: Options that cannot be used, or a review or a model that is not there.
        """
        anywhere = OmegaConf.merge(config, {"trainer": {"accelerator": "auto", "devices": 1}})
        cell = build(anywhere, Cell)  # type: ignore[arg-type]
        if cell.merging.merges:
            return None
        source = repr(cell.data)
        if source not in self._reviews:
            self._reviews[source] = cell.data.load()
        return training_identity(cell, self._reviews[source]).folder(cell.output)
