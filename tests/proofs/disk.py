"""A simulated disk: it records every call of Python that touches a folder, and fails at a given call.

It replaces `os.open`, `os.write`, `os.fsync`, `os.rename`, `open` and the like.
"""

import builtins
import errno
import fcntl
import io
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

KILLED = 99  # exit code of a process that ends inside a call
REAL = {name: getattr(os, name) for name in dir(os)}
REAL_OPEN = builtins.open
NEEDS_SPACE = (
    "create",
    "write",
    "fsync",
    "rename",
    "mkdir",
    "close",
)  # a full disk refuses these; close on NFS
REPLACED = (
    "open",
    "write",
    "pwrite",
    "fsync",
    "fdatasync",
    "close",
    "ftruncate",
    "truncate",
    "mkdir",
    "rmdir",
)


@dataclass(frozen=True)
class Call:
    """One call.

    Attributes:
        kind: create, open, write, fsync, close, rename, unlink, truncate, mkdir or rmdir.
        path: the file, relative to the folder.
        more: what repeating it takes: (offset, bytes), the new name, or the size; of an open file r, w or t.
        done: False if it failed, such as removing a file that does not exist.
    """

    kind: str
    path: str
    more: Any = None
    done: bool = True


@dataclass
class Fault:
    """What goes wrong.

    Attributes:
        at: the number of the call, from 0.
        mode: kill, half (killed in the middle of a write), short (a write takes half), or an errno's name.
        ever: True if every later call fails too.
        only: selects the files whose calls are counted and fail.
    """

    at: int
    mode: str
    ever: bool = False
    only: Callable[[str], bool] = field(default=lambda path: True)

    def fits(self, kind: str) -> bool:
        """True if such a call can fail in this mode."""
        if self.mode in ("half", "short"):
            return kind == "write"
        return self.mode != "ENOSPC" or kind in NEEDS_SPACE


def not_events(path: str) -> bool:
    """True for all but TensorBoard's files, which another thread writes."""
    return "tensorboard" not in path


class Disk:
    """The calls in a folder.

    Args:
        root: the folder.
        fault: what goes wrong; None if nothing does.
    """

    def __init__(self, root: str, fault: Fault | None = None):
        self.root = os.path.abspath(root)
        self.fault = fault
        self.calls: list[Call] = []
        self.names: dict[int, str] = {}  # file descriptor -> path
        self._count = 0

    def install(self) -> "Disk":
        """Replace the calls of this process."""
        PythonCalls(self).install()
        return self

    def inside(self, path: Any) -> str | None:
        """The path relative to the folder; None outside it."""
        if not isinstance(path, str | bytes | os.PathLike):
            return None
        full = os.path.abspath(os.fsdecode(path))
        if full == self.root:
            return "."
        return full.removeprefix(self.root + "/") if full.startswith(self.root + "/") else None

    def at(self, kind: str, path: Any, act: Callable[[], Any], more: Any = None) -> Any:
        """A call with a path."""
        name = self.inside(path)
        return act() if name is None else self.do(Call(kind, name, more), act)

    def on(self, kind: str, file: int, act: Callable[[], Any], more: Any = None) -> Any:
        """A call with a file descriptor."""
        name = self.names.get(file)
        return act() if name is None else self.do(Call(kind, name, more), act)

    def write(self, file: int, content: bytes, act: Callable[[bytes], int], offset: int | None = None) -> int:
        """A write; `offset` is where a call names one."""
        name = self.names.get(file)
        if name is None:
            return act(content)
        if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_APPEND:
            offset = REAL["fstat"](file).st_size
        elif offset is None:
            offset = REAL["lseek"](file, 0, os.SEEK_CUR)
        half = partial(act, content[: (len(content) + 1) // 2])
        return self.do(Call("write", name, (offset, content)), partial(act, content), half)

    def do(self, call: Call, act: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        """Make a call, make half of it, refuse it, or end the process."""
        fault = self.fault
        if fault is None or not fault.only(call.path):
            self.calls.append(replace(call, done=False))
            answer = act()
            self.calls[-1] = call
            return answer
        number = self._count
        self._count += 1
        is_hit = number == fault.at or (fault.ever and number > fault.at)
        if not is_hit or not fault.fits(call.kind):
            return act()
        if fault.mode == "kill":
            REAL["_exit"](KILLED)
        if fault.mode in ("half", "short"):
            answer = half() if half else act()
            return answer if fault.mode == "short" else REAL["_exit"](KILLED)
        if fault.mode == "ENOSPC" and half is not None and not fault.ever:
            self.fault = Fault(self._count, fault.mode, only=fault.only)  # the next write is refused
            return half()
        if call.kind == "close":
            act()  # the descriptor is free again, even if close fails
        code = getattr(errno, fault.mode)
        raise OSError(code, os.strerror(code))  # without a file name, like calls with a descriptor


class PythonCalls:
    """The functions that replace those of `os` and `open`."""

    def __init__(self, disk: Disk):
        self.disk = disk

    def install(self) -> None:
        """Replace them in this process."""
        for name in REPLACED:
            setattr(os, name, getattr(self, name))
        os.rename = partial(self._rename, "rename")
        os.replace = partial(self._rename, "replace")
        os.unlink = os.remove = self.unlink
        builtins.open = io.open = self.open_file

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        """As `os.open`."""
        name = self.disk.inside(path) if dir_fd is None else None
        act = partial(REAL["open"], path, flags, mode, dir_fd=dir_fd)
        if name is None:
            return act()
        kind = "create" if flags & os.O_CREAT and not os.path.lexists(path) else "open"
        file = self.disk.do(Call(kind, name, "w" if flags & (os.O_WRONLY | os.O_RDWR) else "r"), act)
        self.disk.names[file] = name
        return file

    def close(self, file: int) -> None:
        """As `os.close`."""
        self.disk.on("close", file, partial(REAL["close"], file))
        self.disk.names.pop(file, None)

    def write(self, file: int, content: Any) -> int:
        """As `os.write`."""
        return self.disk.write(file, bytes(content), partial(REAL["write"], file))

    def pwrite(self, file: int, content: Any, offset: int) -> int:
        """As `os.pwrite`."""
        return self.disk.write(file, bytes(content), lambda part: REAL["pwrite"](file, part, offset), offset)

    def fsync(self, file: int) -> None:
        """As `os.fsync`."""
        self.disk.on("fsync", file, partial(REAL["fsync"], file))

    def fdatasync(self, file: int) -> None:
        """As `os.fdatasync`."""
        self.disk.on("fsync", file, partial(REAL["fdatasync"], file))

    def ftruncate(self, file: int, size: int) -> None:
        """As `os.ftruncate`."""
        self.disk.on("truncate", file, partial(REAL["ftruncate"], file, size), size)

    def truncate(self, path: Any, size: int) -> None:
        """As `os.truncate`."""
        if isinstance(path, int):
            return self.ftruncate(path, size)
        return self.disk.at("truncate", path, partial(REAL["truncate"], path, size), size)

    def unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        """As `os.unlink`."""
        self.disk.at("unlink", path, partial(REAL["unlink"], path, dir_fd=dir_fd))

    def rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        """As `os.rmdir`."""
        self.disk.at("rmdir", path, partial(REAL["rmdir"], path, dir_fd=dir_fd))

    def mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        """As `os.mkdir`; an existing folder is no change."""
        act = partial(REAL["mkdir"], path, mode, dir_fd=dir_fd)
        return act() if os.path.lexists(path) else self.disk.at("mkdir", path, act)

    def _rename(self, name: str, old: Any, new: Any, **folders: Any) -> None:
        self.disk.at("rename", old, partial(REAL[name], old, new, **folders), self.disk.inside(new))

    def open_file(
        self, file: Any, mode: str = "r", buffering: int = -1, encoding=None, errors=None, newline=None, **k
    ):
        """As `open`; reading a file counts as one call."""
        name = self.disk.inside(file)
        act = partial(REAL_OPEN, file, mode, buffering, encoding, errors, newline, **k)
        if name is None or k:
            return act()
        if not set(mode) & set("wax+"):
            return self.disk.do(Call("open", name, "r"), act)
        raw = _Raw(self.disk, file, name, mode.replace("b", "").replace("t", ""))
        buffered = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)


class _Raw(io.FileIO):
    """A file opened for writing, below its buffers."""

    def __init__(self, disk: Disk, path: Any, name: str, mode: str):
        self.disk = disk
        kind = "open" if os.path.lexists(path) else "create"
        how = "t" if "w" in mode and kind == "open" else "w"
        opened = super().__init__
        disk.do(Call(kind, name, how), lambda: opened(path, mode))
        disk.names[self.fileno()] = name

    def write(self, content: Any) -> int:
        return self.disk.write(self.fileno(), bytes(content), super().write)

    def close(self) -> None:
        if self.closed:
            return
        file = self.fileno()
        act = super().close
        try:
            self.disk.on("close", file, act)
        finally:
            self.disk.names.pop(file, None)
