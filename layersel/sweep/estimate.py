"""Estimates how long the rest of a grid will take, by the cells that have already run."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from layersel.runs.folder import finished_runs
from layersel.terminal.tables import counted

MINUTE, HOUR = 60.0, 3600.0


def estimate(output: Path, left: Sequence[DictConfig], workers: int) -> str | None:
    """Returns in words how long cells will take; None if no cell has finished below the same output folder.

    A cell is expected to take the median of the finished ones that have its dataset and its model; where there is none,
    that of all finished ones.

    Args:
        output: The output folder.
        left: The configs of the cells that must run.
        workers: The number of cells that run at a time.
    """
    known = _seconds(output)
    if not known:
        return None
    of_all = statistics.median(second for times in known.values() for second in times)
    likenesses = [_likeness(config.data, config.model) for config in left]
    total = sum(statistics.median(known[own]) if own in known else of_all for own in likenesses)
    ran = counted(sum(map(len, known.values())), "cell")
    return f"about {_duration(total / workers)} to go, by the {ran} that ran before"


def _seconds(output: Path) -> dict[str, list[float]]:
    """Returns the seconds of the finished cells below a folder, by their dataset and model."""
    known: dict[str, list[float]] = {}
    for _, identity, metrics in finished_runs(output.glob("*/")):
        known.setdefault(_likeness(identity["data"], identity["model"]), []).append(metrics["seconds/total"])
    return known


def _likeness(data: Any, model: Any) -> str:
    """Returns the same text for cells of the same dataset and model."""
    plain = [OmegaConf.to_container(node) if OmegaConf.is_config(node) else node for node in (data, model)]
    return json.dumps(plain, sort_keys=True)


def _duration(seconds: float) -> str:
    """Returns seconds in the unit that suits their number.

    Example:
        >>> _duration(40), _duration(700), _duration(9000)
        ('40 s', '12 min', '2.5 h')
    """
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds / MINUTE:.0f} min" if seconds < 2 * HOUR else f"{seconds / HOUR:.1f} h"
