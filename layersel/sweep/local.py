"""Runs the jobs of a grid in worker processes on this machine."""

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType

from hydra.types import HydraContext
from omegaconf import DictConfig

from layersel.errors import UserError
from layersel.sweep.grid import Grid, Job, Outcome
from layersel.sweep.worker import BEGUN, Order, serve

CHECKPOINT_SECONDS = 60.0
"""Seconds that interrupted cells have to write their checkpoints."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass
class Worker:
    """A worker process, and the job that it runs.

    Attributes:
        process: The process.
        connection: Takes orders, and gives BEGUN and an outcome for each.
        slot: Its place among the workers.
        order: The job that it runs; None if it is idle.
        begun: Whether the job can be interrupted already.
        stop: Whether it shall be, as soon as it can.
    """

    process: SpawnProcess
    connection: Connection
    slot: int
    order: Order | None = None
    begun: bool = False
    stop: bool = False

    def give(self, order: Order) -> None:
        """Hands over a job."""
        self.begun = self.stop = False
        self.order = order
        self.connection.send(order)

    def interrupt(self) -> None:
        """Interrupts the job if that is wanted and it has begun: before, a signal would end the process or be lost."""
        if self.order is not None and self.begun and self.stop and self.process.pid is not None:
            self.stop = False
            os.kill(self.process.pid, signal.SIGINT)


@dataclass
class Resources:
    """The resources of the workers.

    Attributes:
        workers: The number of workers.
        threads: The CPU threads of each; None leaves the libraries' choice.
        gpus: The GPUs to deal out, as CUDA numbers them: each worker has its own if there are enough; none leaves
            all to all.
    """

    workers: int
    threads: int | None
    gpus: Sequence[str] = ()

    def check(self) -> None:
        """Raises a UserError if these resources make no sense."""
        for name, value in (("workers", self.workers), ("threads", self.threads)):
            if value is not None and value < 1:
                raise UserError(f"hydra.launcher.{name}: expected at least 1, but got {value}")

    def environment(self, slot: int) -> dict[str, str]:
        """Returns the environment variables of the worker in this slot."""
        threads = {} if self.threads is None else dict.fromkeys(THREAD_VARIABLES, str(self.threads))
        own = self.gpus[slot % len(self.gpus) :: self.workers] if self.gpus else []
        return threads | ({"CUDA_VISIBLE_DEVICES": ",".join(own)} if own else {})


@dataclass
class Pool:
    """The workers of one grid.

    Args:
        grid: The grid's record.
        context: Hydra's context.
        resources: What the workers are given.
        report: Called with each outcome as it comes.
    """

    grid: Grid
    context: HydraContext
    resources: Resources
    report: Callable[[Outcome], None]
    _workers: list[Worker] = field(default_factory=list)
    _todo: deque[tuple[Job, DictConfig, bool]] = field(default_factory=deque)
    _stop: BaseException | None = None

    def run(self, jobs: Mapping[Job, DictConfig]) -> None:
        """Runs all jobs; a cell that fails, exits, or whose own process is interrupted or killed stops no other one.

        Jobs whose cells another process runs come last, and wait for it.

        Raises:
            KeyboardInterrupt: After a Ctrl-C.
            SystemExit: After SIGTERM.
        """
        self._todo.extend((job, config, False) for job, config in jobs.items())
        with self._signals():
            while self._todo or any(worker.order is not None for worker in self._workers):
                if self._stop is not None:
                    raise self._stop
                self._hand_out()
                self._take_in()

    def close(self) -> None:
        """Ends idle workers; interrupts busy ones, waits for their checkpoints, and kills those that take too long.

        Those that still import, for seconds on a busy machine, have touched no cell yet and are killed at once.
        """
        for worker in list(self._workers):
            worker.stop = True
            if worker.order is not None and not worker.begun and not worker.connection.poll():
                worker.process.kill()
                self._on_exit(worker, "it was interrupted before it began")
        deadline = time.monotonic() + CHECKPOINT_SECONDS
        try:
            with _second_interrupt("waiting for the running cells to write their checkpoints; Ctrl-C again kills them"):
                while any(worker.order is not None for worker in self._workers) and time.monotonic() < deadline:
                    self._take_in()
        finally:
            for worker in list(self._workers):
                if worker.order is not None:
                    worker.process.kill()
                    self._on_exit(worker, "it was interrupted and killed before it had written a checkpoint")
                else:
                    self._dismiss(worker)

    def _hand_out(self) -> None:
        for slot in range(self.resources.workers):
            worker = next((worker for worker in self._workers if worker.slot == slot), None)
            if not self._todo or (worker is not None and worker.order is not None):
                continue
            job, config, wait_for_cell = self._todo.popleft()
            worker = worker or self._start(slot)
            log = self.grid.log(job) if self.resources.workers > 1 else None
            worker.give(Order(job, config, wait_for_cell, log))

    def _start(self, slot: int) -> Worker:
        ours, theirs = get_context("spawn").Pipe()
        process = get_context("spawn").Process(target=serve, args=(theirs, self.grid, self.context), daemon=False)
        with _environment(self.resources.environment(slot)), _blocked_interrupts():
            process.start()
        theirs.close()
        worker = Worker(process, ours, slot)
        self._workers.append(worker)
        return worker

    def _take_in(self) -> None:
        """Takes what the workers send within half a second, and passes interrupts on to them."""
        for worker in self._workers:
            worker.interrupt()
        ready = wait([worker.connection for worker in self._workers], timeout=0.5)
        for worker in [worker for worker in self._workers if worker.connection in ready]:
            try:
                message = worker.connection.recv()
            except (EOFError, ConnectionResetError):
                self._on_exit(worker)
                continue
            if message == BEGUN:
                worker.begun = True
            else:
                self._ended(worker, message)

    def _ended(self, worker: Worker, outcome: Outcome | None) -> None:
        order, worker.order = worker.order, None
        if order is None:
            return
        if outcome is None:
            self._todo.append((order.job, order.config, True))
            return
        self.report(outcome)
        if outcome.crashed:
            self._dismiss(worker)  # the next cell is given a new process

    def _on_exit(self, worker: Worker, reason: str | None = None) -> None:
        worker.process.join()
        self._workers.remove(worker)
        if worker.order is not None:
            why = reason or _exit_reason(worker.process.exitcode)
            self.report(self.grid.record_interrupted(worker.order.job, why))

    def _dismiss(self, worker: Worker) -> None:
        worker.connection.send(None)
        worker.process.join()
        self._workers.remove(worker)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Lets a Ctrl-C or SIGTERM end the grid between two messages of the workers, not within one."""
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        signal.signal(signal.SIGINT, self._interrupted)
        signal.signal(signal.SIGTERM, self._terminated)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _terminated(self, number: int, frame: FrameType | None) -> None:
        self._stop = SystemExit(128 + number)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        self._stop = KeyboardInterrupt()


def _exit_reason(exit_code: int | None) -> str:
    """Returns how a process ended, by its exit code."""
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        hint = ", perhaps for want of memory" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{hint}"
    return f"its process exited with status {exit_code}"


@contextmanager
def _second_interrupt(line: str) -> Iterator[None]:
    """Lets the first Ctrl-C within the block print a line, as many people press it twice; the second one raises."""
    before = signal.getsignal(signal.SIGINT)

    def first(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.stderr.write(f"{line}\n")

    signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _blocked_interrupts() -> Iterator[None]:
    """Starts a child within the block with SIGINT blocked: one that comes while it imports would end it.

    The child unblocks the signal once it ignores it (`begin_child`); in this process it only comes a moment later.
    """
    resource_tracker.ensure_running()  # started within the block, it would unblock the signal
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


@contextmanager
def _environment(more: dict[str, str]) -> Iterator[None]:
    """Gives a child that is started within the block these variables, too."""
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
