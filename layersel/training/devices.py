"""A training on several devices: this process is its first rank, helpers that it starts are the others."""

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

FAREWELL = 60.0
"""Seconds that helpers have to end after the training has."""


@dataclass(frozen=True)
class Ranks(ClusterEnvironment):
    """Tells Lightning which of the processes of a training this one is, so that it starts none itself.

    Lightning would run the whole script again for every further device, and with it all cells of a grid.

    Attributes:
        rank: Of this process, 0 for the one that started the others.
        size: How many processes there are, each with a device.
        port: Where the first one listens on this machine.
    """

    rank: int
    size: int
    port: int

    @property
    def creates_processes_externally(self) -> bool:
        """They are there."""
        return True

    @property
    def main_address(self) -> str:
        """This machine."""
        return "127.0.0.1"

    @property
    def main_port(self) -> int:
        """Of the first process."""
        return self.port

    @staticmethod
    def detect() -> bool:
        """Never by itself."""
        return False

    def world_size(self) -> int:
        """How many processes there are."""
        return self.size

    def set_world_size(self, size: int) -> None:
        """It is known."""

    def global_rank(self) -> int:
        """Of this process."""
        return self.rank

    def set_global_rank(self, rank: int) -> None:
        """It is known."""

    def local_rank(self) -> int:
        """The same: all are on this machine."""
        return self.rank

    def node_rank(self) -> int:
        """The only machine."""
        return 0


@dataclass
class Helper:
    """A process that does one rank's part.

    Attributes:
        process: It.
        connection: Gives None when it has its task, and its last words if it dies of an error.
        words: Those, if they came: the error in one line, and the traceback.
    """

    process: SpawnProcess
    connection: Connection
    words: tuple[str, str] | None = None

    def is_ready(self) -> bool:
        """Wait until it can meet the other ranks, or is dead: who waits for a dead one there waits for long."""
        self._listen()
        return self.words is None and not self.connection.closed

    def death(self) -> RuntimeError | None:
        """What it died of, if it has."""
        self.process.join(1)  # the end of its part in the training comes before its own
        if not self.connection.closed and self.connection.poll():
            self._listen()
        if self.words is None and not self.process.exitcode:
            return None
        line, told = self.words or (f"its process exited with status {self.process.exitcode}", "")
        error = RuntimeError(f"trainer.devices: a process of the training has died: {line}")
        error.add_note(told)
        return error

    def _listen(self) -> None:
        try:
            self.words = self.connection.recv()
        except EOFError:
            self.connection.close()


@contextmanager
def helped(task: Callable[[Ranks], None], devices: int) -> Iterator[Ranks | None]:
    """While the block does the part of rank 0, processes of their own call `task` with the other ranks.

    Args:
        task: Is pickled; the tensors in it reach a helper as copies on the CPU.
        devices: How many ranks there are. With one there is no helper, and the block is given None.

    Raises:
        RuntimeError: A helper has died.
    """
    if devices == 1:
        yield None
        return
    helpers: list[Helper] = []
    try:
        yield _begin(task, devices, helpers)
        for helper in helpers:
            helper.process.join(FAREWELL)
    except BaseException as error:
        _blame(helpers, error)
        raise
    finally:
        _end(helpers)


def _begin(task: Callable[[Ranks], None], devices: int, helpers: list[Helper]) -> Ranks:
    """Start the helpers and wait until each has its task; rank 0's part."""
    port = find_free_network_port()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "task.pt"
        torch.save(task, file)
        helpers += [_start(file, Ranks(rank, devices, port)) for rank in range(1, devices)]
        if not all(helper.is_ready() for helper in helpers):
            raise RuntimeError("trainer.devices: a process of the training has not begun")
    return Ranks(0, devices, port)


def _blame(helpers: list[Helper], error: BaseException) -> None:
    """Raise what a helper has died of, if one has, in place of the error that this led to here."""
    if isinstance(error, KeyboardInterrupt | UserError):
        return
    for helper in helpers:
        death = helper.death()
        if death is not None:
            raise death from error


def _end(helpers: list[Helper]) -> None:
    """Whatever they do; the next training in this process makes a group of its own."""
    for helper in helpers:
        helper.process.kill()
        helper.process.join()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _start(file: Path, ranks: Ranks) -> Helper:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_help, args=(file, ranks, theirs), daemon=True)
    process.start()
    theirs.close()
    return Helper(process, ours)


def _help(file: Path, ranks: Ranks, connection: Connection) -> None:
    """One helper's whole life."""
    begin_child()
    for number in (signal.SIGTERM, signal.SIGUSR2):  # a cluster sends them to all processes of a job; rank 0 decides
        signal.signal(number, signal.SIG_IGN)
    try:
        task = torch.load(file, map_location="cpu", weights_only=False)  # written by this process's parent
        connection.send(None)
        task(ranks)
    except KeyboardInterrupt:  # of rank 0, which tells
        return
    except BaseException as error:
        connection.send((error_line(error), traceback.format_exc()))
        raise SystemExit(1) from None
