"""The race of engines: which multiplies integers fastest on this machine, by one matrix and within bounded time."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from layersel.compression.quantisation.engines import Engine
from layersel.compression.quantisation.int8_linear import Int8Linear

# Shapes: N rows, O outputs, I inputs.

ROWS = 512
"""The rows, tokens of texts, that are multiplied in the end."""
GROWTH = 8
"""The factor by which the rows grow from one to `ROWS`."""
LIMIT = 0.2
"""The seconds that a call may be expected to take: what would take longer for `GROWTH` times the rows is not called."""
ENTRIES = 2**22
"""The most entries of a weight that are raced on; of a larger one the first outputs are. A row of them takes .1 s by
oneDNN's reference kernel for signed rows, 40 million products a second, and .0005 s by a real one."""
TOO_SLOW = 2.0
"""An engine that takes more than this times as long as fp32 is dropped, if another one does not."""
ROUNDS = 5
"""How often those left are timed on all rows; the fastest time counts."""
FP32 = "fp32"


@dataclass(frozen=True)
class Race:
    """The outcome of a race.

    Attributes:
        winner: The name of the fastest engine.
        shape: Rows, inputs and outputs of the largest product that was timed.
        milliseconds: The time of this product in fp32 and by each engine that was not dropped.
        ratios: How many times as long as fp32 each engine took, on the most rows that it was given.
    """

    winner: str
    shape: tuple[int, int, int]
    milliseconds: dict[str, float]
    ratios: dict[str, float]

    @property
    def speedup(self) -> float:
        """Returns how many times as fast as fp32 the winner is."""
        return 1 / self.ratios[self.winner]

    @property
    def dropped(self) -> dict[str, float]:
        """Returns the ratios of the engines that were dropped; the winner is not, however slow it is."""
        kept = {*self.milliseconds, self.winner}
        return {name: ratio for name, ratio in self.ratios.items() if name not in kept}

    def __str__(self) -> str:
        """Returns the outcome in words."""
        rows, inputs, outputs = self.shape
        how = (
            f"{self.speedup:.1f} times as fast as fp32"
            if self.speedup >= 1
            else f"which takes {1 / self.speedup:.1f} times as long as fp32 and is the fastest here"
        )
        timed = ", ".join(f"{name} {taken:.2g} ms" for name, taken in self.milliseconds.items())
        slow = ", ".join(f"{name} {ratio:.0f} times as long" for name, ratio in self.dropped.items())
        dropped = f"; dropped: {slow}" if slow else ""
        return f"{self.winner}, {how} ({rows} rows by {inputs} x {outputs}: {timed}{dropped})"


@torch.no_grad()
def race(
    weight_OI: Tensor, outliers: int, engines: Sequence[Engine], clock: Callable[[], float] = time.perf_counter
) -> Race:
    """Times a linear layer in fp32 and as an integer layer with each engine.

    All begin with one row. They are given `GROWTH` times as many, up to `ROWS`, while the next call can be expected to
    stay within `LIMIT`. So a kernel that would take seconds for all rows is dropped after its first ones, and a race
    takes a second or two at most, whatever the kernels are.

    Args:
        weight_OI: The layer's weight, float32 on the CPU.
        outliers: The number of its columns that stay in float32.
        engines: The engines, at least one.
        clock: Returns the time in seconds.
    """
    linear = _linear(weight_OI[: max(1, ENTRIES // weight_OI.shape[1])])
    runners = {FP32: linear} | {one.name: Int8Linear.of(linear, torch.arange(outliers), one) for one in engines}
    x_NI = torch.randn(ROWS, linear.in_features, generator=torch.Generator().manual_seed(0))
    rows, seconds, ratios = _heats(runners, x_NI, clock)
    left = [name for name in seconds if ratios[name] <= TOO_SLOW]
    for _ in range(ROUNDS):
        for name in left:
            seconds[name] = min(seconds[name], _seconds(runners[name], x_NI[:rows], clock))
    ratios |= {name: seconds[name] / seconds[FP32] for name in left}
    del ratios[FP32]
    return Race(
        winner=min([name for name in left if name != FP32] or ratios, key=ratios.__getitem__),
        shape=(rows, linear.in_features, linear.out_features),
        milliseconds={name: 1000 * seconds[name] for name in left},
        ratios=ratios,
    )


def _heats(
    runners: Mapping[str, nn.Module], x_NI: Tensor, clock: Callable[[], float]
) -> tuple[int, dict[str, float], dict[str, float]]:
    """Times all on one row, and those that may go on on ever more.

    Returns:
        The most rows, the seconds of those who were given them, and how many times as long as fp32 each runner took on
        the most rows that it was given.
    """
    rows, left = 1, list(runners)
    ratios: dict[str, float] = {}
    while True:
        # The first call packs the weights and makes the kernel, so that only the later ones show its time.
        seconds = {name: min(_seconds(runners[name], x_NI[:rows], clock) for _ in range(3)) for name in left}
        ratios |= {name: taken / seconds[FP32] for name, taken in seconds.items()}
        if rows == ROWS or seconds[FP32] * GROWTH > LIMIT:
            return rows, seconds, ratios
        left = [name for name in left if seconds[name] * GROWTH <= LIMIT]
        rows *= GROWTH


def _linear(weight_OI: Tensor) -> nn.Linear:
    linear = nn.Linear(weight_OI.shape[1], weight_OI.shape[0], device="meta")
    linear.weight = nn.Parameter(weight_OI.contiguous())
    linear.bias = nn.Parameter(torch.zeros(len(weight_OI)))
    return linear


def _seconds(runner: nn.Module, x_NI: Tensor, clock: Callable[[], float]) -> float:
    begin = clock()
    runner(x_NI)
    return clock() - begin
