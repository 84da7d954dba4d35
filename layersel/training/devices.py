"""A training on several devices: this process is its first rank, helper processes that it starts are the others."""

import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

import torch
from lightning.fabric.plugins.environments import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import find_free_network_port

from layersel.errors import UserError, error_line
from layersel.terminal.child_process import begin_child

END_TIMEOUT = 60.0
"""Seconds that helpers have to end after the training has."""


@dataclass(frozen=True)
class RankEnvironment(ClusterEnvironment):
    """Tells Lightning which of the processes of a training this one is, so that it starts none itself.

    Lightning would run the whole script again for every further device, and with it all cells of a grid.

    Attributes:
        rank: The number of this process, 0 for the one that started the others.
        size: How many processes there are, each with a device.
        port: Where the first one listens on this machine.
    """

    rank: int
    size: int
    port: int

    @property
    def creates_processes_externally(self) -> bool:
        """Always true: the helpers have been started."""
        return True

    @property
    def main_address(self) -> str:
        """The address of this machine, on which all processes are."""
        return "127.0.0.1"

    @property
    def main_port(self) -> int:
        """The port of the first process."""
        return self.port

    @staticmethod
    def detect() -> bool:
        """Returns False, so that Lightning never chooses this environment by itself."""
        return False

    def world_size(self) -> int:
        """Returns how many processes there are."""
        return self.size

    def set_world_size(self, size: int) -> None:
        """Does nothing: the size is fixed."""

    def global_rank(self) -> int:
        """Returns the rank of this process."""
        return self.rank

    def set_global_rank(self, rank: int) -> None:
        """Does nothing: the rank is fixed."""

    def local_rank(self) -> int:
        """Returns the rank of this process on its machine, the only one."""
        return self.rank

    def node_rank(self) -> int:
        """Returns the number of this machine, the only one."""
        return 0


@dataclass
class Helper:
    """A process that does one rank's part.

    Attributes:
        process: The process.
        connection: Gives None when the process has read its task, and its error if it fails.
        failure: The error in one line and its traceback, once they have come.
    """

    process: SpawnProcess
    connection: Connection
    failure: tuple[str, str] | None = None

    def is_ready(self) -> bool:
        """Waits until it can meet the other ranks or has failed: rank 0 would wait for a failed one for long."""
        self._receive()
        return self.failure is None and not self.connection.closed

    def error(self) -> RuntimeError | None:
        """Returns why it has failed; None if it has not."""
        self.process.join(1)  # rank 0 may see the broken connection before the process has ended
        if not self.connection.closed and self.connection.poll():
            self._receive()
        if self.failure is None and not self.process.exitcode:
            return None
        line, trace = self.failure or (f"its process exited with status {self.process.exitcode}", "")
        error = RuntimeError(f"trainer.devices: a process of the training has failed: {line}")
        error.add_note(trace)
        return error

    def _receive(self) -> None:
        try:
            self.failure = self.connection.recv()
        except EOFError:
            self.connection.close()


@contextmanager
def helper_processes(task: Callable[[RankEnvironment], None], devices: int) -> Iterator[RankEnvironment | None]:
    """While the block does the part of rank 0, processes of their own call `task` with the other ranks.

    Args:
        task: Is pickled; the tensors in it reach a helper as copies on the CPU.
        devices: How many ranks there are. With one there is no helper, and the block is given None.

    Raises:
        RuntimeError: A helper has failed.
    """
    if devices == 1:
        yield None
        return
    helpers: list[Helper] = []
    try:
        yield _start_all(task, devices, helpers)
        for helper in helpers:
            helper.process.join(END_TIMEOUT)
    except BaseException as error:
        _raise_helper_error(helpers, error)
        raise
    finally:
        _end(helpers)


def _start_all(task: Callable[[RankEnvironment], None], devices: int, helpers: list[Helper]) -> RankEnvironment:
    """Starts the helpers and waits until each has read its task; returns the environment of rank 0."""
    port = find_free_network_port()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "task.pt"
        torch.save(task, file)
        helpers += [_start(file, RankEnvironment(rank, devices, port)) for rank in range(1, devices)]
        if not all(helper.is_ready() for helper in helpers):
            raise RuntimeError("trainer.devices: a process of the training has not begun")
    return RankEnvironment(0, devices, port)


def _raise_helper_error(helpers: list[Helper], error: BaseException) -> None:
    """Raises the error of the first helper that has failed in place of `error`, to which it has led on rank 0."""
    if isinstance(error, KeyboardInterrupt | UserError):
        return
    for helper in helpers:
        cause = helper.error()
        if cause is not None:
            raise cause from error


def _end(helpers: list[Helper]) -> None:
    """Ends the helpers and their process group: the next training in this process makes a group of its own."""
    for helper in helpers:
        helper.process.kill()
        helper.process.join()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _start(file: Path, environment: RankEnvironment) -> Helper:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run_helper, args=(file, environment, theirs), daemon=True)
    process.start()
    theirs.close()
    return Helper(process, ours)


def _run_helper(file: Path, environment: RankEnvironment, connection: Connection) -> None:
    """Runs in a helper process from its beginning to its end."""
    begin_child()
    for number in (signal.SIGTERM, signal.SIGUSR2):  # a cluster sends them to all processes of a job; rank 0 decides
        signal.signal(number, signal.SIG_IGN)
    try:
        task = torch.load(file, map_location="cpu", weights_only=False)  # written by this process's parent
        connection.send(None)
        task(environment)
    except KeyboardInterrupt:  # rank 0 has been interrupted and reports it
        return
    except BaseException as error:
        connection.send((error_line(error), traceback.format_exc()))
        raise SystemExit(1) from None
