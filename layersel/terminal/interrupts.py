"""Keeps a Ctrl-C that comes where Python or a library would forget it: in a destructor, or while C code imports."""

import signal
import sys
import threading
from types import FrameType

from layersel.errors import is_interruption

AGAIN_SECONDS = 0.01

_came: list[int] = []


def keep_interrupts() -> None:
    """Makes this process raise a Ctrl-C again that a destructor has swallowed, and remember each that comes.

    A process that ignores Ctrl-C goes on to; `await_interrupts` ends that.
    """
    sys.unraisablehook = _raise_again
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        await_interrupts()


def await_interrupts() -> None:
    """Makes each Ctrl-C from now on raise KeyboardInterrupt and be remembered."""
    forget_interrupts()
    signal.signal(signal.SIGINT, _interrupt)


def forget_interrupts() -> None:
    """Forgets what has come, as it has been answered."""
    _came.clear()


def is_interrupted(error: BaseException) -> bool:
    """Returns whether a Ctrl-C has led to an error, also where nothing of it is left in the error.

    Torch imports NumPy in C++ and clears what that raises: NumPy stays half imported, and fails later by itself.
    """
    return bool(_came) or is_interruption(error)


def raise_swallowed_interrupt() -> None:
    """Raises the KeyboardInterrupt of a Ctrl-C that has come and has not ended the process.

    Raises:
        KeyboardInterrupt: After such a Ctrl-C.
    """
    if _came:
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
