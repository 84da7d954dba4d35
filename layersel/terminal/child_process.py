"""Sets the behaviour of a process that this one starts with `multiprocessing`."""

import os
import signal
import sys
import threading
from multiprocessing import parent_process
from multiprocessing.connection import wait

from layersel.terminal.interrupts import keep_interrupts
from layersel.terminal.messages import hide_library_warnings


def begin_child() -> None:
    """Prepares a child process: it prints no warnings, ends with its parent, and leaves a Ctrl-C to its parent."""
    os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    keep_interrupts()
    hide_library_warnings()


def _end_with_parent() -> None:
    """Waits for the end of the parent, also of one that is killed, and ends this process."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        sys.stderr.flush()
        os._exit(1)
