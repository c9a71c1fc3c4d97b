"""Safe writing: after a crash a file is complete, old or new, and only one process writes in a folder."""

import errno
import fcntl
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dlfound.errors import Code, Error

ASIDE = re.compile(r"\.tmp-[0-9a-f]{16}")  # the names that `name_aside` gives

LOCK = ".lock"
TRIES = 10  # to take the lock: a process that only tests it holds it for a moment
PAUSE = 0.02  # seconds between two tries
UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


# Files.


def replace_durably(path: Path, content: bytes) -> None:
    """Replace a file; when the call returns, the new content is on the disk.

    Raises:
        OSError: the disk refuses; the old file is intact, and no temporary file stays.
    """
    with replacing(path) as aside:
        write_durably(aside, content)
    sync_folder(path.parent)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name in the folder of `path`; the file written there replaces `path` at the end.

    After an error or an interrupt, the old file is intact, and no temporary file stays.
    """
    aside = name_aside(path)
    try:
        yield aside
        os.rename(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def name_aside(path: Path) -> Path:
    """Return a random temporary name in the folder of `path`."""
    return path.with_name(f".tmp-{secrets.token_hex(8)}")


def write_durably(path: Path, content: bytes) -> None:
    """Write a new file and force it to the disk.

    Raises:
        OSError: the file exists, is a link, or the disk refuses.
    """
    with _opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW) as file:
        view = memoryview(content)
        while view:
            view = view[os.write(file, view) :]
        os.fsync(file)


def make_folders(path: Path) -> None:
    """Make a folder and its missing parents, and force each new name to the disk."""
    new = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in new:
        sync_folder(folder.parent)


def sync_folder(path: Path) -> None:
    """Force the names in a folder to the disk."""
    with _opened(path, os.O_RDONLY | os.O_DIRECTORY) as folder:
        try:
            os.fsync(folder)
        except OSError as error:
            if error.errno != errno.EINVAL:  # some file systems cannot sync a folder
                raise


def sync_file(path: Path) -> int:
    """Force the lines appended to a file to the disk; return the file's size."""
    with _opened(path, os.O_RDONLY) as file:
        os.fsync(file)
        return os.fstat(file).st_size


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    """Open a file or a folder; the yielded descriptor is closed at the end."""
    file = os.open(path, flags | os.O_CLOEXEC, 0o666)
    try:
        yield file
    finally:
        os.close(file)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError into an Error that says that `path` cannot be written (code 6)."""
    try:
        yield
    except OSError as error:
        fix = "choose another run.dir"
        if not isinstance(error, FileNotFoundError):
            fix = f"free some space, then resume with resume=RUN; or {fix}"
        raise Error(f"cannot write to {path}: {error.strerror or error}", fix, Code.RESOURCES) from None


def remove_aside(folder: Path) -> None:
    """Remove the temporary files that a crash left; only the holder of the run's lock may call this."""
    if folder.is_dir() and not folder.is_symlink():
        for path in folder.iterdir():
            if ASIDE.fullmatch(path.name):
                path.unlink()


# The lock. The kernel releases it however the process ends.


@contextmanager
def locked(run: Path) -> Iterator[str]:
    """Hold the lock of a run's folder; yield a warning, which is empty if the lock protects the folder.

    Raises:
        Error: another process holds the lock (code 4), or the lock file cannot be written (code 6).
    """
    with writing(run):
        file = os.open(run / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        yield _take(file, run)
    finally:
        with suppress(OSError):  # the kernel releases the lock anyway; another error matters more
            os.close(file)


def is_held(run: Path) -> bool:
    """Return True while a process holds the lock of a run's folder; False if that cannot be found out."""
    try:
        with _opened(run / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError)
    return False


def _take(file: int, run: Path) -> str:
    try:
        _flock(file)
    except BlockingIOError:
        holder = os.read(file, 100).decode("utf-8", "replace") or "another process"
        message = f"{run} is in use by {holder}"
        raise Error(message, "wait until it ends, or choose another run.dir", Code.RUN) from None
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        return f"cannot lock {run} on this file system: make sure that only one process trains there"
    with writing(run):
        os.ftruncate(file, 0)
        os.pwrite(file, f"process {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}".encode(), 0)
    return ""


def _flock(file: int) -> None:
    """Try several times: a process that calls `is_held` may hold the lock for a moment."""
    for left in reversed(range(TRIES)):
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not left:
                raise
            time.sleep(PAUSE)
