"""The race of engines, with a clock that is turned by the engines themselves: what is dropped, when, and who wins."""

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from layersel.compression.quantisation import race as racing
from layersel.compression.quantisation.engines import ENGINES, Engine
from layersel.compression.quantisation.race import GROWTH, LIMIT, ROWS, Race, race

WEIGHT = torch.ones(24, 16)
FP32 = 0.001
"""The seconds that the fake clock gives fp32 for any number of rows."""


class FakeClock:
    """A clock that goes on by `FP32` between two readings, and by what engines add."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: dict[str, list[int]] = {}

    def __call__(self) -> float:
        """Returns the time in seconds."""
        self.now += FP32
        return self.now

    def engine(self, name: str, cost: Callable[[int], float]) -> Engine:
        """Returns an engine that takes, beyond `FP32`, the seconds that `cost` gives for a number of rows."""
        self.calls[name] = []

        def multiply(x_NI: Tensor, packed: Tensor, scales_O: Tensor) -> Tensor:
            self.calls[name].append(len(x_NI))
            self.now += cost(len(x_NI))
            return ENGINES["float32"].multiply(x_NI, packed, scales_O)

        return Engine(name, ENGINES["float32"].pack, multiply)


def run(**costs: Callable[[int], float]) -> tuple[Race, FakeClock]:
    """Runs a race of engines with these costs."""
    clock = FakeClock()
    return race(WEIGHT, 1, [clock.engine(name, cost) for name, cost in costs.items()], clock), clock


def test_the_fastest_wins() -> None:
    """It is timed on all rows, and said with its times and those of the others."""
    outcome, clock = run(a=lambda _: 0.0008, b=lambda _: 0.0002)
    assert outcome.winner == "b"
    assert outcome.speedup == pytest.approx(1 / 1.2)
    assert outcome.shape == (ROWS, 16, 24)
    assert outcome.milliseconds == pytest.approx({"fp32": 1.0, "a": 1.8, "b": 1.2})
    assert outcome.dropped == {}
    assert max(clock.calls["a"]) == ROWS


def test_a_reference_kernel_is_dropped_after_its_first_rows() -> None:
    """With 15 ms a row it is given one row and eight, and never what would take longer than the limit."""
    outcome, clock = run(slow=lambda rows: 0.015 * rows, fast=lambda _: 0.0)
    assert outcome.winner == "fast"
    assert set(clock.calls["slow"]) == {1, GROWTH}
    assert outcome.dropped == pytest.approx({"slow": 121.0})
    assert "dropped: slow 121 times as long" in str(outcome)


@pytest.mark.parametrize("seconds_a_row", [1e-4, 1e-3, 0.01, 0.1, 0.4, 3.0])
def test_time_is_bounded(seconds_a_row: float) -> None:
    """Whatever a row costs, no call but that of the first row takes longer than the limit, and few are made."""
    _, clock = run(slow=lambda rows: seconds_a_row * rows, fast=lambda _: 0.0)
    taken = [seconds_a_row * rows for rows in clock.calls["slow"]]
    assert all(seconds <= max(LIMIT, seconds_a_row) for seconds in taken)
    assert sum(taken) <= 20 * max(LIMIT, seconds_a_row)


def test_a_first_row_has_bounded_products() -> None:
    """Of a weight of any size only so many outputs are raced on that one row of them stays short."""
    shapes = []
    engine = Engine("watching", lambda w: shapes.append(w.shape) or w, lambda x, w, s: x.new_zeros(len(x), len(w)) * s)
    outcome = race(torch.ones(8192, 1024), 0, [engine])
    assert shapes == [(racing.ENTRIES // 1024, 1024)]
    assert outcome.shape[1:] == (1024, 4096)


def test_twice_as_slow_as_fp32_is_dropped_at_once() -> None:
    """On all rows too: it is not timed in the rounds that the others are timed in."""
    outcome, clock = run(slow=lambda _: 0.0015, fast=lambda _: 0.0005)
    assert clock.calls["slow"].count(ROWS) < clock.calls["fast"].count(ROWS)
    assert outcome.dropped == pytest.approx({"slow": 2.5})
    assert set(outcome.milliseconds) == {"fp32", "fast"}


def test_a_dear_first_call_is_forgiven() -> None:
    """Packing and the making of kernels do not count."""
    first = iter([5.0])
    outcome, _ = run(warming=lambda _: next(first, 0.0), other=lambda _: 0.0005)
    assert outcome.winner == "warming"


def test_when_all_are_slow_the_best_runs_and_it_is_said() -> None:
    """The line does not call it fast: it gives how much longer than fp32 it takes."""
    outcome, _ = run(hopeless=float, slow=lambda _: 0.002)
    assert outcome.winner == "slow"
    assert outcome.speedup == pytest.approx(1 / 3)
    assert str(outcome).startswith("slow, which takes 3.0 times as long as fp32 and is the fastest here (512 rows by")
    alone, _ = run(hopeless=float)
    assert (alone.winner, set(alone.milliseconds)) == ("hopeless", {"fp32"})
    assert (list(outcome.dropped), alone.dropped) == (["hopeless"], {})


def test_a_machine_slow_in_fp32_races_on_fewer_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound holds for fp32 as well."""
    monkeypatch.setattr(f"{__name__}.FP32", LIMIT / GROWTH * 1.01)
    outcome, clock = run(a=lambda _: 0.0)
    assert outcome.shape[0] == 1
    assert set(clock.calls["a"]) == {1}


def test_a_sleeping_engine_is_dropped_by_the_real_clock() -> None:
    """An engine that sleeps 30 ms a row sees one row at a time and loses to a real one."""
    seen = []

    def sleep(x_NI: Tensor, packed: Tensor, scales_O: Tensor) -> Tensor:
        seen.append(len(x_NI))
        time.sleep(0.03 * len(x_NI))
        return ENGINES["float32"].multiply(x_NI, packed, scales_O)

    outcome = race(torch.ones(1536, 384), 4, [Engine("sleeping", ENGINES["float32"].pack, sleep), ENGINES["float32"]])
    assert outcome.winner == "float32"
    assert set(seen) == {1}


@pytest.mark.usefixtures("global_rng_untouched")
def test_the_weight_is_left_alone() -> None:
    """So are the global random numbers, and a turned weight may be raced on."""
    weight = torch.randn(16, 24, generator=torch.Generator().manual_seed(0)).t()
    before = weight.clone()
    race(weight, 2, list(ENGINES.values())[-1:])
    assert torch.equal(weight, before)
