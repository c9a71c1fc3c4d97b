"""Who trains which trial: a lock for each in one file, which the kernel gives back however the process ends.

The file lies with what all share who work on the sweep: its folder, or the file of its database.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dlfound.errors import Code, Error


class Claims:
    """The locks of one process on a sweep; to be made after a fork, and only once in a process.

    A second object on the same file would give all back when it is closed: that is how these locks are.
    """

    def __init__(self, file: Path):
        self._held: set[int] = set()
        try:
            self._file = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        except OSError as error:
            what = f"cannot write to {file.parent}: {error.strerror}"
            raise Error(what, "choose another folder, or mend this one", Code.RESOURCES) from None

    def take(self, number: int) -> bool:
        """True where this process has the trial now, and nobody had it before."""
        if number in self._held:
            return False
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number + 1)
        except (BlockingIOError, PermissionError):
            return False
        self._held.add(number)
        return True

    def free(self, number: int) -> None:
        """Give a trial back."""
        self._held.discard(number)
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, number + 1)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One process at a time: what is done here, others do before or after."""
        fcntl.lockf(self._file, fcntl.LOCK_EX, 1, 0)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, 0)

    def close(self) -> None:
        """Give all back."""
        os.close(self._file)
