"""A disk that fails where it is told to, and writes down what is asked of it: every call of Python that changes a file.

It stands in for `os.open`, `os.write`, `os.fsync`, `os.rename` and their like, and for `open`. Calls that concern
files outside of its folder pass by.
"""

import builtins
import errno
import io
import os
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

KILLED = 99  # exit code of a process that ends inside a call
REAL = {name: getattr(os, name) for name in dir(os)}
REAL_OPEN = builtins.open
NEEDS_ROOM = (
    "create",
    "write",
    "fsync",
    "rename",
    "mkdir",
    "close",
)  # what a full disk may refuse; close on NFS
CHANGES = (*NEEDS_ROOM, "open", "unlink", "truncate", "rmdir")


@dataclass(frozen=True)
class Call:
    """One call.

    Attributes:
        kind: create, open, write, fsync, close, rename, unlink, truncate, mkdir or rmdir.
        path: the file, below the folder.
        more: what it takes to do it again: (offset, bytes), the new name, the size; r, w or t for an open file.
        done: False where it was in vain, such as to remove a file that is not there.
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
        mode: kill, half (killed half way through a write), short (a write that takes half), or an errno's name.
        ever: from then on every call fails, not only this one.
        only: files whose calls are counted and fail.
    """

    at: int
    mode: str
    ever: bool = False
    only: Callable[[str], bool] = field(default=lambda path: True)

    def fits(self, kind: str) -> bool:
        """True where such a call can fail so."""
        if self.mode in ("half", "short"):
            return kind == "write"
        return self.mode != "ENOSPC" or kind in NEEDS_ROOM


def not_events(path: str) -> bool:
    """True for all but TensorBoard's files, which another thread writes."""
    return "tensorboard" not in path


class Disk:
    """The calls below a folder.

    Args:
        root: the folder.
        fault: what goes wrong, None for nothing.
    """

    def __init__(self, root: str, fault: Fault | None = None):
        self.root, self.fault = os.path.abspath(root), fault
        self.calls: list[Call] = []
        self._names: dict[int, str] = {}
        self._count = 0

    def install(self) -> "Disk":
        """From now on, for this process."""
        for name in (
            "open",
            "write",
            "pwrite",
            "fsync",
            "fdatasync",
            "close",
            "ftruncate",
            "truncate",
            "mkdir",
        ):
            setattr(os, name, getattr(self, name))
        os.rename = partial(self._rename, "rename")
        os.replace = partial(self._rename, "replace")
        os.unlink = os.remove = self.unlink
        os.rmdir = self.rmdir
        builtins.open = io.open = self.open_file
        return self

    # What a call goes through.

    def _inside(self, path: Any) -> str | None:
        if not isinstance(path, str | bytes | os.PathLike):
            return None
        full = os.path.abspath(os.fsdecode(path))
        if full == self.root:
            return "."
        return full.removeprefix(self.root + "/") if full.startswith(self.root + "/") else None

    def _do(self, call: Call, act: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        """One call: done, done by half, refused, or the end of the process."""
        fault = self.fault
        if fault is None or not fault.only(call.path):
            self.calls.append(replace(call, done=False))
            found = act()
            self.calls[-1] = call
            return found
        number, self._count = self._count, self._count + 1
        hit = number == fault.at or (fault.ever and number > fault.at)
        if not hit or not fault.fits(call.kind):
            return act()
        if fault.mode == "kill":
            REAL["_exit"](KILLED)
        if fault.mode in ("half", "short"):
            done = half() if half else act()
            return done if fault.mode == "short" else REAL["_exit"](KILLED)
        if fault.mode == "ENOSPC" and half is not None and not fault.ever:
            self.fault = Fault(
                self._count, fault.mode, only=fault.only
            )  # it takes half, and refuses the rest
            return half()
        if call.kind == "close":
            act()  # the number is free again, whatever it answers
        number = getattr(errno, fault.mode)
        raise OSError(number, os.strerror(number))  # names no file: calls on an open one do not

    # Calls of `os`.

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        """As `os.open`."""
        name = self._inside(path) if dir_fd is None else None
        act = partial(REAL["open"], path, flags, mode, dir_fd=dir_fd)
        if name is None:
            return act()
        new = bool(flags & os.O_CREAT) and not os.path.lexists(path)
        file = self._do(
            Call("create" if new else "open", name, "w" if flags & (os.O_WRONLY | os.O_RDWR) else "r"), act
        )
        self._names[file] = name
        return file

    def close(self, file: int) -> None:
        """As `os.close`."""
        self._on("close", file, partial(REAL["close"], file))
        self._names.pop(file, None)

    def write(self, file: int, content: Any) -> int:
        """As `os.write`."""
        return self._write(file, bytes(content), partial(REAL["write"], file))

    def pwrite(self, file: int, content: Any, offset: int) -> int:
        """As `os.pwrite`."""
        return self._write(file, bytes(content), lambda part: REAL["pwrite"](file, part, offset), offset)

    def fsync(self, file: int) -> None:
        """As `os.fsync`."""
        self._on("fsync", file, partial(REAL["fsync"], file))

    def fdatasync(self, file: int) -> None:
        """As `os.fdatasync`."""
        self._on("fsync", file, partial(REAL["fdatasync"], file))

    def ftruncate(self, file: int, size: int) -> None:
        """As `os.ftruncate`."""
        self._on("truncate", file, partial(REAL["ftruncate"], file, size), size)

    def truncate(self, path: Any, size: int) -> None:
        """As `os.truncate`."""
        if isinstance(path, int):
            return self.ftruncate(path, size)
        return self._at("truncate", path, partial(REAL["truncate"], path, size), size)

    def unlink(self, path: Any, *, dir_fd: int | None = None) -> None:
        """As `os.unlink`."""
        self._at("unlink", path, partial(REAL["unlink"], path, dir_fd=dir_fd))

    def rmdir(self, path: Any, *, dir_fd: int | None = None) -> None:
        """As `os.rmdir`."""
        self._at("rmdir", path, partial(REAL["rmdir"], path, dir_fd=dir_fd))

    def mkdir(self, path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        """As `os.mkdir`; one that is there already is no change."""
        act = partial(REAL["mkdir"], path, mode, dir_fd=dir_fd)
        return act() if os.path.lexists(path) else self._at("mkdir", path, act)

    def _rename(self, name: str, old: Any, new: Any, **folders: Any) -> None:
        self._at("rename", old, partial(REAL[name], old, new, **folders), self._inside(new))

    def _at(self, kind: str, path: Any, act: Callable[[], Any], more: Any = None) -> Any:
        name = self._inside(path)
        return act() if name is None else self._do(Call(kind, name, more), act)

    def _on(self, kind: str, file: int, act: Callable[[], Any], more: Any = None) -> Any:
        name = self._names.get(file)
        return act() if name is None else self._do(Call(kind, name, more), act)

    def _write(
        self, file: int, content: bytes, act: Callable[[bytes], int], offset: int | None = None
    ) -> int:
        name = self._names.get(file)
        if name is None:
            return act(content)
        at = REAL["lseek"](file, 0, os.SEEK_CUR) if offset is None else offset
        if self._appends(file):
            at = REAL["fstat"](file).st_size
        half = partial(act, content[: (len(content) + 1) // 2])
        return self._do(Call("write", name, (at, content)), partial(act, content), half)

    def _appends(self, file: int) -> bool:
        import fcntl

        return bool(fcntl.fcntl(file, fcntl.F_GETFL) & os.O_APPEND)

    # `open`.

    def open_file(
        self, file: Any, mode: str = "r", buffering: int = -1, encoding=None, errors=None, newline=None, **k
    ):
        """As `open`; files that are read are counted once, when they are opened."""
        name = self._inside(file)
        if name is None or k:
            return REAL_OPEN(file, mode, buffering, encoding, errors, newline, **k)
        if not set(mode) & set("wax+"):
            return self._do(
                Call("open", name, "r"), lambda: REAL_OPEN(file, mode, buffering, encoding, errors, newline)
            )
        raw = _Raw(self, file, name, mode.replace("b", "").replace("t", ""))
        buffered = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)


class _Raw(io.FileIO):
    """What lies below the buffers of a file that is written."""

    def __init__(self, disk: Disk, path: Any, name: str, mode: str):
        self.disk, self.name_below = disk, name
        kind = "open" if os.path.lexists(path) else "create"
        how, opened = "t" if "w" in mode and kind == "open" else "w", super().__init__
        disk._do(Call(kind, name, how), lambda: opened(path, mode))
        disk._names[self.fileno()] = name

    def write(self, content: Any) -> int:
        return self.disk._write(self.fileno(), bytes(content), super().write)

    def close(self) -> None:
        if self.closed:
            return
        file, act = self.fileno(), super().close
        try:
            self.disk._on("close", file, act)
        finally:
            self.disk._names.pop(file, None)


EVENTS = {"os.rename": "rename", "os.remove": "unlink", "os.mkdir": "mkdir", "os.truncate": "truncate"}


class Watch:
    """What the interpreter itself says of changes below a folder: to see that no call passed the disk by."""

    def __init__(self, disk: Disk):
        self.disk, self.seen = disk, Counter()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple) -> None:
        if event == "open" and isinstance(args[0], str | os.PathLike):
            flags = args[2] if isinstance(args[2], int) else 0
            kind = "write" if flags & (os.O_WRONLY | os.O_RDWR) else "read"
        elif event in EVENTS:
            kind = EVENTS[event]
        else:
            return
        if event == "os.truncate" and isinstance(args[0], int):
            name = self.disk._names.get(args[0])
        else:
            name = self.disk._inside(args[0])
        if kind == "mkdir" and os.path.lexists(args[0]):
            return
        if name is not None and not_events(name):
            self.seen[kind] += 1

    def counted(self) -> Counter:
        """The same, as the disk saw it."""
        found: Counter = Counter()
        for call in self.disk.calls:
            if not not_events(call.path):
                continue
            if call.kind in ("open", "create"):
                found["read" if call.more == "r" else "write"] += 1
            elif call.kind in EVENTS.values():
                found[call.kind] += 1
        return found
