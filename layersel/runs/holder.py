"""Who works on a folder, and whether it still does: a killed process holds nothing."""

import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

BEAT = 5.0
"""Seconds between two signs of life."""
STALE = 60.0
"""Seconds without one after which a holder on another machine counts as dead."""


@dataclass(frozen=True)
class Holder:
    """A process that has taken a folder.

    Attributes:
        host: Its machine.
        namespace: Within which its number counts: containers of one machine may share the name, not the processes.
        pid: Its number.
        born: When it began (Unix time), as numbers are given again.
        mark: Of this taking alone.
    """

    host: str
    namespace: str
    pid: int
    born: float
    mark: str

    @classmethod
    def here(cls) -> "Holder":
        """This process, taking anew."""
        born = psutil.Process().create_time()
        return cls(platform.node(), _namespace(), os.getpid(), born, uuid.uuid4().hex)

    def is_alive(self, silence: float) -> bool:
        """Whether it still works, `silence` seconds after its last sign of life; a suspended process does."""
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
    """Touch `file` every few seconds while the block runs, whatever it does."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT):
            try:
                os.utime(file)
            except FileNotFoundError:  # between two versions of the file, or the folder was removed
                continue

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def silence(file: Path, clock: Path) -> float:
    """Seconds since `file` was touched, by the clock of its file system, which `clock` (a file beside it) tells."""
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
