"""What a cell's adapter is worth, beside the best outcome without it."""

import math
from collections.abc import Mapping
from typing import Any

from layersel.tasks.task import Task
from layersel.terminal.tables import format_number

BASE = "base"
TITLES = {"": "adapted", f"{BASE}/": "pretrained"}
LOW, HIGH = "difference/low", "difference/high"
"""The metrics that hold the ends of the interval of the difference to the best outcome without the adapter."""


def titles(task: Task) -> dict[str, str]:
    """Returns the titles of all outcomes of a cell, by the prefix of their metrics."""
    return TITLES | {f"{name}/": title for name, title in task.references.items()}


def best_without_adapter(metrics: Mapping[str, Any], task: Task) -> str | None:
    """Returns the name of the best outcome without the cell's adapter; None if there is none to compare with.

    The pretrained model is none where the final one is the same.
    """
    metric, own = task.primary, metrics.get(task.primary.name)
    same = not metrics["parameters/trainable"] and own == metrics.get(f"{BASE}/{metric.name}")
    names = [*([] if same else [BASE]), *task.references]
    values = {name: metrics.get(f"{name}/{metric.name}") for name in names}
    defined = {name: value for name, value in values.items() if value is not None and not math.isnan(value)}
    if not defined or own is None or math.isnan(own):
        return None
    return (max if metric.higher_is_better else min)(defined, key=lambda name: defined[name])


def what_the_adapter_adds(metrics: Mapping[str, Any], task: Task) -> str | None:
    """Returns the line that compares the final model with the best outcome without the adapter; None without one.

    A difference that resampled test examples undo is told, with how many labelled ones to test on would show it: with
    the square root of their number the ends of the interval draw nearer to the difference, the one beyond 0 too. So is
    why there is no interval, where the task says it.
    """
    best = best_without_adapter(metrics, task)
    if best is None:
        return None
    metric, own, other = task.primary, metrics[task.primary.name], metrics[f"{best}/{task.primary.name}"]
    trained, difference = bool(metrics["parameters/trainable"]), own - other
    beside = "no better and no worse than" if difference == 0 else f"{difference:+.3f} beside"
    what = "the best without it" if trained else "the best other outcome"
    with_it = "with the adapter" if trained else "without an adapter"
    line = f"{metric.title}: {format_number(own)} {with_it}, {beside} {what} "
    line += f"({titles(task)[f'{best}/']}: {format_number(other)})"
    low, high, too_few = metrics.get(LOW), metrics.get(HIGH), task.why_no_interval(metrics)
    if difference == 0:
        return line
    if too_few is not None:
        return f"{line}; {too_few}"
    if low is None or high is None:
        return line
    line += f"; 95 % interval {low:+.3f} to {high:+.3f} over resampled test examples"
    if low <= 0 <= high and "n_test" in metrics:
        beyond = difference - low if difference > 0 else high - difference
        needed = metrics["n_test"] * (beyond / difference) ** 2
        line += f", so it may be chance: about {_rounded(needed):,} labelled test examples like these would tell"
    return line


def _rounded(number: float) -> int:
    """Returns a number of at least 1 to two digits."""
    return max(1, int(float(f"{number:.1e}")))
