"""Keeps a Ctrl-C that comes where Python or a library would forget it: in a destructor, or while C code imports."""

import signal
import sys
import threading
from types import FrameType

AGAIN_SECONDS = 0.01

_came: list[int] = []


def keep_interrupts() -> None:
    """Makes this process remember each Ctrl-C from now on, and raise again one that a destructor has swallowed."""
    _came.clear()
    sys.unraisablehook = _raise_again
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else the process ignores it, or has its own way
        signal.signal(signal.SIGINT, _interrupt)


def interrupt_came() -> bool:
    """Returns whether a Ctrl-C has come, also where nothing of it is left in the error that it has led to.

    Torch imports NumPy in C++ and clears what that raises: NumPy stays half imported, and fails later by itself.
    """
    return bool(_came)


def raise_swallowed_interrupt() -> None:
    """Raises the KeyboardInterrupt of a Ctrl-C that has come and has not ended the process.

    Raises:
        KeyboardInterrupt: After such a Ctrl-C.
    """
    if interrupt_came():
        raise KeyboardInterrupt


def _interrupt(number: int, frame: FrameType | None) -> None:
    _came.append(number)
    signal.default_int_handler(number, frame)


def _raise_again(unraisable: "sys.UnraisableHookArgs") -> None:
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    timer = threading.Timer(AGAIN_SECONDS, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    timer.daemon = True
    timer.start()
