"""How long each stage of a run took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Seconds of each stage, and of all from its making."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time the block as `stage`."""
        begin = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - begin

    def metrics(self) -> dict[str, float]:
        """`seconds/STAGE` of each stage, and `seconds/total`."""
        seconds = {**self.seconds, "total": time.perf_counter() - self.started}
        return {f"seconds/{stage}": round(value, 3) for stage, value in seconds.items()}
