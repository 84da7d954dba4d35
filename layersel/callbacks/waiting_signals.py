"""Makes Ctrl-C and SIGTERM wait for a moment at which nothing is half done."""

import signal
import threading
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class WaitingSignals:
    """Holds back SIGINT and SIGTERM between `hold` and `release`, for the handlers that it finds when it is made.

    Other signals pass, above all SIGUSR2, in whose handler a job is queued again. Outside of the main thread, the
    only one to which Python gives signals, it does nothing.
    """

    def __init__(self) -> None:
        self._handlers = {number: signal.getsignal(number) for number in SIGNALS}
        self._replaced: dict[signal.Signals, signal._HANDLER] = {}
        self._waiting: int | None = None

    @property
    def waiting(self) -> bool:
        """Returns whether a signal has come."""
        return self._waiting is not None

    def hold(self) -> None:
        """Makes signals wait, but for a second one; ignored ones are ignored again if Lightning took them."""
        if threading.current_thread() is threading.main_thread():
            ignored = {number for number in SIGNALS if self._handlers[number] is signal.SIG_IGN}
            self._replaced = {
                number: signal.signal(number, signal.SIG_IGN if number in ignored else self._come) for number in SIGNALS
            }

    def release(self) -> None:
        """Restores the handlers from before `hold`."""
        for number, handler in self._replaced.items():
            signal.signal(number, handler)
        self._replaced = {}

    def deliver(self) -> None:
        """Calls the handler of the waiting signal, which in most cases raises KeyboardInterrupt.

        Where none waits, one waits in another process of a distributed training, and ends this one too.
        """
        number, self._waiting = self._waiting, None
        if number is None:
            raise KeyboardInterrupt
        handler = self._handlers[signal.Signals(number)]
        if callable(handler):
            handler(number, None)
        elif handler is signal.SIG_DFL:
            raise KeyboardInterrupt

    def _come(self, number: int, frame: FrameType | None) -> None:
        again, self._waiting = self.waiting, number
        if again:
            self.deliver()
