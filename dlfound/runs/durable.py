"""Files that are on the disk when the call returns: old or new after a crash, never neither."""

import errno
import os
import re
import secrets
from pathlib import Path

ASIDE = re.compile(r"\.tmp-[0-9a-f]{16}")


def replace_durably(path: Path, content: bytes, aside: Path) -> None:
    """Write a file under another name beside it, and give it its own once it is on the disk.

    Raises:
        OSError: the disk refuses; what stood at `path` is intact, and nothing stays at `aside`.
    """
    try:
        write_durably(aside, content)
        os.rename(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_durably(path: Path, content: bytes) -> None:
    """A new file.

    Raises:
        OSError: it exists, is a link, or the disk refuses.
    """
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(file, view) :]
        os.fsync(file)
    finally:
        os.close(file)


def make_folders(path: Path) -> None:
    """A folder and those above it, each with its name on the disk."""
    new = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in new:
        sync_folder(folder.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that does this by itself, or never
            raise
    finally:
        os.close(folder)


def sync_file(path: Path) -> int:
    """Make what was appended to a file durable; returns its size."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
        return os.fstat(file).st_size
    finally:
        os.close(file)


def name_aside(path: Path) -> Path:
    """A name beside a file that nobody else takes."""
    return path.with_name(f".tmp-{secrets.token_hex(8)}")  # `ASIDE` knows it again


def remove_aside(folder: Path) -> None:
    """Remove what a crash left half written; only to be called by the one who holds the run's lock."""
    if folder.is_dir() and not folder.is_symlink():
        for path in folder.iterdir():
            if ASIDE.fullmatch(path.name):
                path.unlink()
