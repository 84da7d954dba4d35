"""How long the rest of a grid will take, by the cells that have already run."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from layersel.runs.folder import FINISHED
from layersel.sweep.grid import Grid, Job, counted

MINUTE, HOUR = 60.0, 3600.0


def estimate(grid: Grid, jobs: Sequence[Job], configs: Sequence[DictConfig], workers: int) -> str:
    """A line: how many cells there are, how many have finished in an earlier call, and the time for the others.

    A cell is expected to take the median of the finished cells below the same output folder that have its dataset and
    its model; where there is none, that of all finished cells.
    """
    done = [folder is not None and folder.state == FINISHED for folder in map(grid.cell_of, jobs)]
    text = f"grid {grid.name}: {counted(len(jobs), 'cell')}"
    text += f", {sum(done)} of them finished before" if any(done) else ""
    left = [_likeness(config.data, config.model) for config, known in zip(configs, done, strict=True) if not known]
    if not left:
        return text
    known = _seconds(grid.output)
    if not known:
        return f"{text}; how long a cell takes will be known when one has run"
    of_all = statistics.median(second for times in known.values() for second in times)
    total = sum(statistics.median(known[likeness]) if likeness in known else of_all for likeness in left)
    ran = counted(sum(map(len, known.values())), "cell")
    return f"{text}; about {_duration(total / workers)} to go, by the {ran} that ran before"


def _seconds(output: Path) -> dict[str, list[float]]:
    """The seconds of the finished cells below a folder, by their dataset and model."""
    known: dict[str, list[float]] = {}
    for file in output.glob("*/metrics.json"):
        identity, metrics = _read(file.with_name("identity.json")), _read(file)
        if identity is not None and metrics is not None:
            likeness = _likeness(identity["data"], identity["model"])
            known.setdefault(likeness, []).append(metrics["seconds/total"])
    return known


def _likeness(data: Any, model: Any) -> str:
    plain = [OmegaConf.to_container(node) if OmegaConf.is_config(node) else node for node in (data, model)]
    return json.dumps(plain, sort_keys=True)


def _read(file: Path) -> dict[str, Any] | None:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def _duration(seconds: float) -> str:
    """As a person says it.

    Example:
        >>> _duration(40), _duration(700), _duration(9000)
        ('40 s', '12 min', '2.5 h')
    """
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds / MINUTE:.0f} min" if seconds < 2 * HOUR else f"{seconds / HOUR:.1f} h"
