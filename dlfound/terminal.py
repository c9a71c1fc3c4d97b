"""The process and its terminal: messages, numbers as text, a progress bar, streams that may fail, signals.

A stream fails when its reader is gone, its terminal was closed, or its disk is full. None of that may end a
training or change an exit code, so these streams never raise.
"""

import errno
import io
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from dlfound.errors import printable

SIGNAL_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}  # signal -> exit code
SHOW_CURSOR = b"\x1b[?25h"  # a progress bar hides the cursor


def say(text: str) -> None:
    """Print a message on standard error."""
    print(f"dlfound: {printable(text)}", file=sys.stderr, flush=True)


def number_text(value: float | None) -> str:
    """Four significant digits; from 10,000 on whole numbers with thousands separators; a dash for None."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:#.4g}".rstrip(".")


def age_text(seconds: int) -> str:
    """A duration in the largest unit of which it has at least two (of minutes, one)."""
    for unit, length, least in (("d", 86400, 2), ("h", 3600, 2), ("min", 60, 1)):
        if seconds >= least * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


@contextmanager
def progress_bar(total: int, shown: bool, head: str = "") -> Iterator[Callable[[int, str], None]]:
    """Show a bar on standard error that vanishes at its end; nothing if it is not a terminal.

    Yields: A function to call with the number of items that are done, and a text about the next.
    """
    if not (shown and sys.stderr.isatty()):
        yield lambda done, text: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = [MofNCompleteColumn(), BarColumn(bar_width=16), TextColumn("{task.description}", markup=False)]
    columns = [*([head] if head else []), *columns, TimeRemainingColumn(compact=True)]
    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=8) as bar:
        task = bar.add_task("", total=total)
        yield lambda done, text: bar.update(task, completed=done, description=text)


# Streams.


class Stream(io.FileIO):
    """A standard stream that goes on silently after it has failed.

    Attributes:
        failed: the first error; nothing is written after it.
    """

    failed: OSError | None = None

    def write(self, data) -> int:
        """Write as a file does; after an error, pretend that everything was written."""
        try:
            return len(data) if self.failed else super().write(data)
        except OSError as error:
            self.failed = error
            return len(data)

    def lost(self) -> str:
        """Why output is missing; empty if nothing is missing or nobody reads it."""
        if self.failed is None or self.failed.errno == errno.EPIPE:
            return ""
        if self.failed.errno == errno.EIO and not stat.S_ISREG(os.fstat(self.fileno()).st_mode):
            return ""  # a terminal that was closed
        return str(self.failed.strerror)


def ready_streams() -> Stream:
    """Replace the standard streams by streams that never raise; a closed stream goes to /dev/null.

    Returns:
        Standard output.
    """
    file = 0
    while file <= 2:  # else a file of ours would get the number of a stream
        file = os.open(os.devnull, os.O_RDWR)
    os.close(file)
    out = Stream(1, "w", closefd=False)
    err = Stream(2, "w", closefd=False)
    sys.stdout = _text_stream(out, sys.stdout)
    sys.stderr = _text_stream(err, sys.stderr)
    return out


def _text_stream(stream: Stream, old: io.TextIOWrapper | None) -> io.TextIOWrapper:
    """Text into the stream in the encoding of `old`; characters that the encoding lacks are escaped."""
    by_line = old is None or old.line_buffering or old.write_through
    encoding = old.encoding if old else "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(stream), encoding, "backslashreplace", line_buffering=by_line)


# Signals.


class Stop:
    """Whether a signal has asked the command to end.

    Attributes:
        code: the exit code to end with; 0 until a signal comes.
        training: True once there is something to save: until then a signal ends the process at once.
    """

    code = 0
    training = False

    def __call__(self) -> bool:
        """True once a signal has come."""
        return self.code != 0

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Ask the training to end after its step; end at once at a second Ctrl-C, or with nothing to save."""
        code = SIGNAL_CODES[signal.Signals(number)]
        if not self.training or (number == signal.SIGINT and self.code == code):
            with suppress(OSError):  # nobody reads any more
                os.write(2, (SHOW_CURSOR if os.isatty(2) else b"") + b"\ndlfound: interrupted\n")
            os._exit(code)
        self.code = code


@contextmanager
def stoppable(stop: Stop | None = None) -> Iterator[Stop]:
    """Listen to SIGINT, SIGTERM and SIGHUP.

    A signal that the caller ignores, such as SIGHUP under nohup, stays ignored.
    """
    stop = stop or Stop()
    heard = [number for number in SIGNAL_CODES if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop.handle) for number in heard}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
