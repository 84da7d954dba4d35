"""The course of the loss in a training."""

import math
from collections.abc import Mapping, Sequence

from layersel.tasks.curves import Curves
from layersel.training.adapter_module import LOSS

POINTS = 100
"""Most points of a curve."""


def loss_curve(rows: Sequence[Mapping[str, float]], outcome: str) -> dict[str, Curves]:
    """Returns the curve of the loss over the training steps by its name, `loss`; nothing if no step had a loss.

    Of a long training a point is the mean over the last few steps, so many that the points are no more than `POINTS`.

    Args:
        rows: What was logged: the loss of a step, NaN where the step was skipped, and `step`, from 0.
        outcome: The name of the outcome that was trained.

    Example:
        >>> loss_curve([{"train/loss": 2.0, "step": 0}, {"train/loss": 1.0, "step": 1}], "adapted")["loss"].y
        {'adapted': [2.0, 1.0]}
    """
    losses = {int(row["step"]) + 1: row[LOSS] for row in rows if not math.isnan(row.get(LOSS, math.nan))}
    if not losses:
        return {}
    width = math.ceil(max(losses) / POINTS)
    parts = {
        last: [losses[step] for step in range(last - width + 1, last + 1) if step in losses]
        for last in range(width, max(losses) + 1, width)
    }
    means = {float(last): float(f"{sum(part) / len(part):.5g}") for last, part in parts.items() if part}
    return {"loss": Curves("Loss in training", "training step", "loss", list(means), {outcome: list(means.values())})}
