"""The curve of the loss against its definition."""

import math

import pytest

from layersel.cell.loss_curve import POINTS, loss_curve


def rows(losses: list[float]) -> list[dict[str, float]]:
    """What a training logs, with values beside the loss."""
    return [{"train/loss": loss, "epoch": 0.0, "step": step} for step, loss in enumerate(losses)]


def test_a_short_training_has_a_point_for_each_step() -> None:
    """Steps count from 1; one that was skipped has none."""
    curve = loss_curve([*rows([3.0, math.nan, 1.5]), {"other": 1.0, "step": 3}], "adapted")["loss"]
    assert (curve.x, curve.y) == ([1.0, 3.0], {"adapted": [3.0, 1.5]})


@pytest.mark.parametrize("steps", [POINTS, POINTS + 1, 2 * POINTS + 57, 12345])
def test_a_long_training_has_means_of_its_steps(steps: int) -> None:
    """Each point is the mean of equally many steps, the last ones before it; there are at most `POINTS` points."""
    losses = [float(step % 7) for step in range(steps)]
    curve = loss_curve(rows(losses), "adapted")["loss"]
    width = int(curve.x[0])
    assert len(curve.x) <= POINTS <= 2 * len(curve.x)
    assert curve.x == [float(last) for last in range(width, steps + 1, width)]
    expected = [sum(losses[int(last) - width : int(last)]) / width for last in curve.x]
    assert curve.y["adapted"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("losses", [[], [math.nan], [math.nan] * 300])
def test_no_loss_is_no_curve(losses: list[float]) -> None:
    """A training in which every step was skipped, and none at all."""
    assert loss_curve(rows(losses), "adapted") == {}
