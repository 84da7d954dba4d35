"""Which process holds a folder, and whether it is alive: a killed one holds nothing."""

import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

BEAT = 5.0
"""Seconds between two heartbeats."""
STALE = 60.0
"""Seconds without a heartbeat after which a holder on another machine counts as ended."""


@dataclass(frozen=True)
class Holder:
    """A process that has taken a folder.

    Attributes:
        host: The name of its machine.
        namespace: The process namespace in which `pid` counts: containers of one machine may share its name.
        pid: Its process number.
        born: When it began (Unix time), as numbers are given again.
        mark: A value that no other holder has, not even the same process when it takes the folder again.
    """

    host: str
    namespace: str
    pid: int
    born: float
    mark: str

    @classmethod
    def here(cls) -> "Holder":
        """Returns this process with a new mark."""
        born = psutil.Process().create_time()
        return cls(platform.node(), _namespace(), os.getpid(), born, uuid.uuid4().hex)

    def is_alive(self, silence: float) -> bool:
        """Returns whether it is alive, `silence` seconds after its last heartbeat; a suspended process is."""
        if (self.host, self.namespace) != (platform.node(), _namespace()):
            return silence < STALE
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            return abs(process.create_time() - self.born) < 1 or silence < STALE
        except psutil.NoSuchProcess:
            return False

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@contextmanager
def heartbeat(file: Path) -> Iterator[None]:
    """Touches `file` every few seconds while the block runs, whatever it does."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT):
            with suppress(OSError):  # between two versions of the file, or the folder was removed
                os.utime(file)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def silence(file: Path, clock: Path) -> float:
    """Returns the seconds since `file` was touched by its file system's clock, read from `clock`, a file beside it."""
    try:
        os.utime(clock)
        now = clock.stat().st_mtime
    except OSError:  # another user's folder
        now = time.time()
    return now - file.stat().st_mtime


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # no Linux
        return ""
