"""Keeps a Ctrl-C that comes while Python runs a destructor or a callback, where it would be printed and forgotten."""

import signal
import sys
import threading

AGAIN_SECONDS = 0.01


def keep_interrupts() -> None:
    """Makes this process raise such a KeyboardInterrupt again, in its main thread and a moment later."""
    sys.unraisablehook = _raise_again


def _raise_again(unraisable: "sys.UnraisableHookArgs") -> None:
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    timer = threading.Timer(AGAIN_SECONDS, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    timer.daemon = True
    timer.start()
