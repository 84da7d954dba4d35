"""Measures how long each stage of a run takes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Keeps the seconds of each stage, and the time at which it was made."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Measures the block as `stage`."""
        begin = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - begin

    def replace(self, stage: str, seconds: float) -> None:
        """Sets the seconds of a stage, and the total accordingly, to what it took where it was done."""
        self.started -= seconds - self.seconds[stage]
        self.seconds[stage] = seconds

    def metrics(self) -> dict[str, float]:
        """Returns `seconds/STAGE` of each stage, and `seconds/total` since it was made."""
        seconds = {**self.seconds, "total": time.perf_counter() - self.started}
        return {f"seconds/{stage}": round(value, 3) for stage, value in seconds.items()}
