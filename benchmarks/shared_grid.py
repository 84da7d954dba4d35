"""Measures what sharing saves: twelve cells as one grid against twelve processes that share nothing.

    LAYERSEL_DATA=FOLDER python benchmarks/shared_grid.py [OPTION=VALUE …]

NSAIDS, MiniLM: 1, 2 and 3 layers × rank 4 and 8 × 2 seeds. Further options go to all cells. Both ways must find
the same metrics, to the last bit. CPU seconds are those of the processes alone: other work on the machine matters less.
"""

import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
COMMON = ["model=minilm", "data=cohen", "data.review=NSAIDS", "trainer=cpu", "logger=csv"]
AXES = {"selection.n": ("1", "2", "3"), "adapter.rank": ("4", "8"), "seed": ("0", "1")}

Metrics = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Cost:
    """The seconds on the clock, and of the processors."""

    wall: float
    cpu: float


def main() -> None:
    """Runs both, compares the metrics, prints a table."""
    options = [*COMMON, *sys.argv[1:]]
    with tempfile.TemporaryDirectory() as folder:
        alone, grid = Path(folder) / "alone", Path(folder) / "grid"
        costs = {
            "12 processes, shared=null": _cost(lambda: _alone([*options, f"output={alone}"])),
            "one grid": _cost(lambda: _grid([*options, f"output={grid}"])),
        }
        _print(costs, _metrics(alone), _metrics(grid))


def _alone(options: list[str]) -> None:
    for values in itertools.product(*AXES.values()):
        own = [f"{name}={value}" for name, value in zip(AXES, values, strict=True)]
        _train([*own, "shared=null", *options])


def _grid(options: list[str]) -> None:
    _train(["-m", *(f"{name}={','.join(values)}" for name, values in AXES.items()), *options])


def _train(arguments: list[str]) -> None:
    command = [sys.executable, ROOT / "train.py", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own script


def _cost(work: Callable[[], None]) -> Cost:
    started, before = time.perf_counter(), _cpu_seconds()
    work()
    return Cost(time.perf_counter() - started, _cpu_seconds() - before)


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _metrics(output: Path) -> Metrics:
    """Returns the metrics of each cell but for times, by the cell's folder."""
    cells = {}
    for file in output.glob("*/metrics.json"):
        content = json.loads(file.read_text(encoding="utf-8"))
        cells[file.parent.name] = {name: value for name, value in content.items() if not name.startswith("seconds/")}
    return cells


def _print(costs: dict[str, Cost], alone: Metrics, grid: Metrics) -> None:
    print("| | wall s | CPU s |\n|---|---|---|")
    for name, cost in costs.items():
        print(f"| {name} | {cost.wall:.0f} | {cost.cpu:.0f} |")
    apart, together = costs.values()
    print(f"| ratio | {apart.wall / together.wall:.2f} | {apart.cpu / together.cpu:.2f} |")
    same = sum(alone[name] == grid.get(name) for name in alone)
    print(f"\n{same} of {len(alone)} cells have the same metrics")
    if same < len(alone) or len(alone) != len(grid):
        sys.exit(1)


if __name__ == "__main__":
    main()
