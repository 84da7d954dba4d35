"""What one attempt at a cell is given."""

from dataclasses import dataclass

from layersel.runs.folder import RunFolder
from layersel.runs.stopwatch import Stopwatch
from layersel.runs.tracking import Tracker


@dataclass(frozen=True)
class CellAttempt:
    """One attempt at a cell.

    Attributes:
        folder: Where its results go.
        tracker: Where its course is logged.
        clock: Times its stages.
        resumes: Whether it goes on from the checkpoint of an interrupted attempt.
    """

    folder: RunFolder
    tracker: Tracker
    clock: Stopwatch
    resumes: bool
