"""One writer a run: a lock on its folder that the kernel gives back however the process ends."""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dlfound.errors import Code, Error

NAME = ".lock"
TRIES, BETWEEN = 10, 0.02  # seconds: who only asks holds it for far less
CANNOT = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


@contextmanager
def locked(run: Path) -> Iterator[str]:
    """Hold the run's lock; yields what to warn of, usually nothing.

    Raises:
        Error: another process writes there (code 4), or the file cannot be made (code 6).
    """
    try:
        file = os.open(run / NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise _cannot_write(run, error) from None
    try:
        yield _take(file, run)
    finally:
        with suppress(
            OSError
        ):  # the kernel takes the lock back all the same, and an error on its way matters more
            os.close(file)


def is_held(run: Path) -> bool:
    """True while a process writes there; false where that cannot be told."""
    try:
        file = os.open(run / NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(file)
    return False


def _lock(file: int) -> None:
    """Try more than once: somebody may just be asking."""
    for left in reversed(range(TRIES)):
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not left:
                raise
            time.sleep(BETWEEN)


def _take(file: int, run: Path) -> str:
    try:
        _lock(file)
    except BlockingIOError:
        holder = os.read(file, 100).decode("utf-8", "replace") or "another process"
        raise Error(
            f"{run} is in use by {holder}", "wait for it, or choose another run.dir", Code.RUN
        ) from None
    except OSError as error:
        if error.errno not in CANNOT:
            raise
        return f"cannot lock {run} on this file system: make sure that only one run writes there"
    try:
        os.ftruncate(file, 0)
        os.pwrite(file, f"process {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}".encode(), 0)
    except OSError as error:
        raise _cannot_write(run, error) from None
    return ""


def _cannot_write(run: Path, error: OSError) -> Error:
    return Error(f"cannot write to {run}: {error.strerror}", "choose another run.dir", Code.RESOURCES)
