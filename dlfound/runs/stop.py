"""Ctrl-C and its like during a training: the step is finished and kept, then the command ends."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}
SHOW_CURSOR = b"\x1b[?25h"  # a bar that is drawn hides it


class Stop:
    """Whether the command was asked to end.

    Attributes:
        code: the exit code that it then ends with; 0 until it was asked.
        training: True once there is something to keep.
    """

    def __init__(self) -> None:
        self.code, self.training = 0, False

    def __call__(self) -> bool:
        """True once a signal has come."""
        return self.code != 0

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The first signal asks; before the training there is nothing to keep, and a second Ctrl-C will not wait."""
        if not self.training or (number == signal.SIGINT and self.code == CODES[signal.SIGINT]):
            with suppress(OSError):  # nobody reads any more
                os.write(2, (SHOW_CURSOR if os.isatty(2) else b"") + b"\ndlfound: interrupted\n")
            os._exit(CODES[signal.Signals(number)])
        self.code = CODES[signal.Signals(number)]


@contextmanager
def stoppable(stop: Stop | None = None) -> Iterator[Stop]:
    """Listen to SIGINT, SIGTERM and SIGHUP; SIGHUP stays ignored where it is (nohup)."""
    stop, old = stop or Stop(), {}
    for number in CODES:
        if signal.getsignal(number) != signal.SIG_IGN:
            old[number] = signal.signal(number, stop.handle)
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
