"""A review whose reading goes wrong in the way that it is told: for tests of what a grid survives."""

import os
import resource
import signal
import sys
from dataclasses import dataclass

import torch

from layersel.data.reviews.demo import Demo
from layersel.data.reviews.records import Review


@dataclass
class Evil(Demo):
    """The embedded review, after a deed."""

    deed: str = "none"
    """none, raise, exit, memory (more than a limit allows), interrupt (as Ctrl-C does), kill (the whole process)."""

    def load(self) -> Review:
        """Do it."""
        DEEDS[self.deed]()
        return super().load()


def _raise() -> None:
    raise ZeroDivisionError("a cell's own bug")


def _exit() -> None:
    sys.exit(3)


def _memory() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()  # noqa: PTH123, SIM115
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, hard))
    try:
        torch.zeros(2**30)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


DEEDS = {
    "none": lambda: None,
    "raise": _raise,
    "exit": _exit,
    "memory": _memory,
    "interrupt": _interrupt,
    "kill": _kill,
}
