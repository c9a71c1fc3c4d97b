"""Standard output and standard error of the command: what is said may be lost, the exit code never.

A stream fails where nobody reads it any more, where a terminal was closed, or where it is a file on a full disk. None
of that may end a training, or change how it is reported: so no error of these streams ever comes up.
"""

import errno
import io
import os
import stat
import sys


class Stream(io.FileIO):
    """A stream of the process that goes on in silence once it failed.

    Attributes:
        failed: the error since which nothing is written.
    """

    failed: OSError | None = None

    def write(self, data) -> int:
        """As a file's; after an error everything counts as written."""
        try:
            return len(data) if self.failed else super().write(data)
        except OSError as error:
            self.failed = error
            return len(data)

    def lost(self) -> str:
        """Why what was said does not stand where it should; empty where it does, or nobody is there to read it."""
        if self.failed is None or self.failed.errno == errno.EPIPE:
            return ""
        if self.failed.errno == errno.EIO and not stat.S_ISREG(os.fstat(self.fileno()).st_mode):
            return ""  # how a closed terminal shows
        return str(self.failed.strerror)


def ready_streams() -> Stream:
    """Print on any terminal; where the caller closed a stream, to nowhere, and never into a file of ours.

    Returns:
        Standard output.
    """
    while (file := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(file)
    out, err = Stream(1, "w", closefd=False), Stream(2, "w", closefd=False)
    sys.stdout, sys.stderr = _text(out, sys.stdout), _text(err, sys.stderr)
    return out


def _text(stream: Stream, old: io.TextIOWrapper | None) -> io.TextIOWrapper:
    """Text into the stream, written as `old` would have done; signs that its encoding does not know are escaped."""
    by_line = old is None or old.line_buffering or old.write_through
    encoding = old.encoding if old else "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(stream), encoding, "backslashreplace", line_buffering=by_line)
