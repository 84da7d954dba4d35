"""Runs the jobs of a grid in worker processes on this machine."""

import math
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType

from hydra.types import HydraContext
from omegaconf import DictConfig

from layersel.errors import UserError
from layersel.sweep.grid import Grid, Job, Outcome
from layersel.sweep.worker import Order, serve

SECOND_THOUGHTS = 3.0
"""Seconds after a Ctrl-C in which another one ends the whole grid."""
GRACE = 60.0
"""Seconds that interrupted cells have to write their checkpoints."""
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass
class Worker:
    """A worker process, and what it does at the moment."""

    process: SpawnProcess
    connection: Connection
    slot: int
    job: Job | None = None


@dataclass
class Resources:
    """What each worker is given.

    Attributes:
        workers: How many there are.
        threads: CPU threads of each; None leaves the libraries' choice.
        gpus: GPUs that are dealt out, as CUDA numbers them: each worker's own as far as there are enough; none leaves
            all to all.
    """

    workers: int
    threads: int | None
    gpus: Sequence[str] = ()

    def check(self) -> None:
        """Raise a UserError if these resources make no sense."""
        for name, value in (("workers", self.workers), ("threads", self.threads)):
            if value is not None and value < 1:
                raise UserError(f"hydra.launcher.{name}: expected at least 1, but got {value}")

    def environment(self, slot: int) -> dict[str, str]:
        """The environment variables of the worker in this slot."""
        threads = {} if self.threads is None else dict.fromkeys(THREADS, str(self.threads))
        own = self.gpus[slot % len(self.gpus) :: self.workers] if self.gpus else []
        return threads | ({"CUDA_VISIBLE_DEVICES": ",".join(own)} if own else {})


@dataclass
class Pool:
    """The workers of one grid.

    Args:
        grid: Where outcomes are recorded.
        context: Hydra's.
        compose: The config of a job.
        resources: Of the workers.
        tell: Is given each outcome as it comes.
    """

    grid: Grid
    context: HydraContext
    compose: Callable[[Job], DictConfig]
    resources: Resources
    tell: Callable[[Outcome], None]
    _workers: list[Worker] = field(default_factory=list)
    _todo: deque[tuple[Job, bool]] = field(default_factory=deque)
    _interrupted_at: float = -math.inf
    _stop: BaseException | None = None

    def run(self, jobs: Sequence[Job]) -> None:
        """Run all jobs; a cell that fails, exits, kills its process or is interrupted does not stop the others.

        Jobs whose cells another process runs come last, and wait for it.

        Raises:
            KeyboardInterrupt: After a second Ctrl-C.
            SystemExit: After SIGTERM.
        """
        self._todo.extend((job, False) for job in jobs)
        with self._signals():
            while self._todo or any(worker.job is not None for worker in self._workers):
                if self._stop is not None:
                    raise self._stop
                self._hand_out()
                self._take_in()

    def close(self) -> None:
        """Let idle workers go; busy ones are interrupted, have the time to write a checkpoint, and are killed then."""
        for worker in self._workers:
            if worker.job is not None:
                _interrupt(worker)
        deadline = time.monotonic() + GRACE
        while any(worker.job is not None for worker in self._workers) and time.monotonic() < deadline:
            self._take_in()
        for worker in list(self._workers):
            if worker.job is not None:
                worker.process.kill()
                self._died(worker)
            else:
                self._dismiss(worker)

    def _hand_out(self) -> None:
        if time.monotonic() - self._interrupted_at < SECOND_THOUGHTS:
            return
        for slot in range(self.resources.workers):
            worker = next((worker for worker in self._workers if worker.slot == slot), None)
            if not self._todo or (worker is not None and worker.job is not None):
                continue
            job, last = self._todo.popleft()
            worker = worker or self._start(slot)
            worker.job = job
            log = self.grid.log(job) if self.resources.workers > 1 else None
            worker.connection.send(Order(job, self.compose(job), last, log))

    def _start(self, slot: int) -> Worker:
        ours, theirs = get_context("spawn").Pipe()
        process = get_context("spawn").Process(target=serve, args=(theirs, self.grid, self.context), daemon=False)
        with _environment(self.resources.environment(slot)):
            process.start()
        theirs.close()
        worker = Worker(process, ours, slot)
        self._workers.append(worker)
        return worker

    def _take_in(self) -> None:
        ready = wait([worker.connection for worker in self._workers], timeout=0.5)
        for worker in [worker for worker in self._workers if worker.connection in ready]:
            try:
                self._ended(worker, worker.connection.recv())
            except (EOFError, ConnectionResetError):
                self._died(worker)

    def _ended(self, worker: Worker, outcome: Outcome | None) -> None:
        job, worker.job = worker.job, None
        if job is None:
            return
        if outcome is None:
            self._todo.append((job, True))
            return
        self.tell(outcome)
        if outcome.crashed:
            self._dismiss(worker)  # the next cell is given a new process

    def _died(self, worker: Worker) -> None:
        worker.process.join()
        self._workers.remove(worker)
        if worker.job is not None:
            self.tell(self.grid.lost(worker.job, _death(worker.process.exitcode)))

    def _dismiss(self, worker: Worker) -> None:
        worker.connection.send(None)
        worker.process.join()
        self._workers.remove(worker)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """The first Ctrl-C interrupts the running cells, a second one soon after it the grid; SIGTERM ends the grid."""
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        signal.signal(signal.SIGINT, self._interrupted)
        signal.signal(signal.SIGTERM, self._terminated)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _terminated(self, number: int, frame: FrameType | None) -> None:
        self._stop = SystemExit(128 + number)  # raised between two messages of the workers, not within one

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        before, self._interrupted_at = self._interrupted_at, time.monotonic()
        if self._interrupted_at - before < SECOND_THOUGHTS:
            self._stop = KeyboardInterrupt()
            return
        running = [worker for worker in self._workers if worker.job is not None]
        names = ", ".join(worker.job.title for worker in running if worker.job is not None)
        sys.stderr.write(f"interrupted: {names}; the next cell follows, Ctrl-C again ends the grid\n")
        for worker in running:
            _interrupt(worker)


def _interrupt(worker: Worker) -> None:
    if worker.process.pid is not None and worker.process.is_alive():
        os.kill(worker.process.pid, signal.SIGINT)


def _death(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        hint = ", perhaps for want of memory" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{hint}"
    return f"its process exited with status {exit_code}"


@contextmanager
def _environment(more: dict[str, str]) -> Iterator[None]:
    """A child that is started within the block has these variables too."""
    before = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
