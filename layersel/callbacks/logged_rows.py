"""Keeps what a training has logged for its checkpoint."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

from layersel.callbacks.checkpoint_file import read_checkpoint

LOGGED = "logged"


class LoggedRows(Logger):
    """A logger that keeps its rows in memory.

    Attributes:
        rows: For each call a dict of its metrics and `step`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, float]] = []

    @property
    def name(self) -> None:
        """None: it writes nothing, so it needs no name."""

    @property
    def version(self) -> None:
        """None: it writes nothing, so it needs no version."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Keeps a row."""
        self.rows.append(metrics if step is None else metrics | {"step": step})

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Keeps nothing: the hyperparameters are in the cell's config."""


def log_again(logger: Logger, rows: Sequence[Mapping[str, float]]) -> None:
    """Gives a logger rows, each with its `step`, that were logged elsewhere."""
    for row in rows:
        logger.log_metrics({name: value for name, value in row.items() if name != "step"}, int(row["step"]))
    logger.save()


def logged_before(checkpoint: Path) -> list[dict[str, float]]:
    """Reads the rows that the training of a checkpoint had logged when it was written, each with its `step`."""
    return list(read_checkpoint(checkpoint)[LOGGED])
