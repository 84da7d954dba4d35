"""How a process that this one starts with `multiprocessing` behaves."""

import os
import signal
import sys
import threading
from multiprocessing import parent_process
from multiprocessing.connection import wait

from layersel.terminal.messages import hide_library_warnings


def begin_child() -> None:
    """Called first in a child: it is quiet, ends with its parent, and leaves a Ctrl-C in the terminal to it."""
    os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hide_library_warnings()


def _end_with_parent() -> None:
    """A parent that is killed leaves no child behind."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        sys.stderr.flush()
        os._exit(1)
