"""Loss of power, played out on the record of a run: what was forced to the disk stays, of the rest anything may.

A write that was not followed by `fsync` of its file is kept, lost, torn, or leaves zeros; a new, changed or removed
name that was not followed by `fsync` of its folder is kept or lost, in any order. That is less than real file systems
promise.

Source: Pillai et al. 2014, "All File Systems Are Not Created Equal".
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from disk import Call

Change = tuple[str | None, str | None, Any]  # of a folder: a name that goes, a name that comes, and for what


@dataclass
class File:
    """What a file holds on the disk, and what was written since it was last forced there."""

    kept: bytes = b""
    since: list[tuple[int, bytes | None]] = field(
        default_factory=list
    )  # (offset, bytes), or (size, None) to cut

    def now(self) -> bytes:
        """As the running program sees it."""
        content = self.kept
        for offset, part in self.since:
            content = _written(content, offset, part)
        return content

    def after(self, rng: Random) -> bytes:
        """One of the contents that a loss of power may leave."""
        content = self.kept
        for offset, part in self.since:
            how = rng.choice(("kept", "lost", "torn", "zeros"))
            if part is None or how == "kept":
                content = content if how == "lost" else _written(content, offset, part)
            elif how != "lost":
                cut = rng.randrange(len(part) + 1) if part else 0
                content = _written(content, offset, part[:cut] if how == "torn" else bytes(len(part)))
        return content


@dataclass
class Folder:
    """The names in a folder on the disk, and what became of them since it was last forced there."""

    kept: dict[str, Any] = field(default_factory=dict)
    since: list[Change] = field(default_factory=list)

    def now(self) -> dict[str, Any]:
        """As the running program sees it."""
        return _renamed(self.kept, self.since)

    def after(self, rng: Random) -> dict[str, Any]:
        """One of the states that a loss of power may leave: an unbroken history, or any part of it."""
        if rng.random() < 0.5:
            return _renamed(self.kept, self.since[: rng.randrange(len(self.since) + 1)])
        return _renamed(self.kept, [change for change in self.since if rng.random() < 0.5])


def _written(content: bytes, offset: int, part: bytes | None) -> bytes:
    if part is None:
        return content[:offset].ljust(offset, b"\0")
    return content[:offset].ljust(offset, b"\0") + part + content[offset + len(part) :]


def _renamed(names: dict[str, Any], changes: Sequence[Change]) -> dict[str, Any]:
    names = dict(names)
    for old, new, what in changes:
        if old is not None:
            names.pop(old, None)
        if new is not None:
            names[new] = what
    return names


class Machine:
    """A disk that plays a record of calls; `.` is a folder that is there from the start.

    Args:
        path: what lies there at first, and safely.
        committed: the step of the newest checkpoint that the program may rely on.
    """

    def __init__(self, path: Path, committed: int):
        self.root, self.committed, self._waits = self._read(path), committed, committed

    def _read(self, path: Path) -> Folder:
        entries = {p.name: self._read(p) if p.is_dir() else File(p.read_bytes()) for p in path.iterdir()}
        return Folder(entries)

    def _at(self, path: str) -> Any:
        found = self.root
        for part in Path(path).parts:
            found = found.now()[part]
        return found

    def play(self, call: Call) -> None:
        """One call more."""
        if not call.done:
            return
        path = Path(call.path)
        folder = self._at(str(path.parent)) if path.name else None
        match call.kind:
            case "create" | "mkdir":
                folder.since.append((None, path.name, File() if call.kind == "create" else Folder()))
            case "write":
                self._at(call.path).since.append(call.more)
            case "truncate":
                self._at(call.path).since.append((call.more, None))
            case "open" if call.more == "t":
                self._at(call.path).since.append((0, None))
            case "unlink" | "rmdir":
                folder.since.append((path.name, None, None))
            case "rename":
                folder.since.append((path.name, Path(call.more).name, self._at(call.path)))
            case "fsync":
                found = self._at(call.path)
                found.kept, found.since = found.now(), []
        self._follow(call)

    def _follow(self, call: Call) -> None:
        """A checkpoint counts once its folder has been forced to the disk after it got its name."""
        if call.kind == "rename" and Path(call.more).name.startswith("step-"):
            self._waits = int(Path(call.more).name.split("-")[1])
        if call.kind == "close" and call.path.endswith("checkpoints"):
            self.committed = self._waits

    def lose_power(self, rng: Random, path: Path) -> None:
        """Write one of the states that may be left."""
        shutil.rmtree(path, ignore_errors=True)
        _write(self.root, rng, path)


def _write(folder: Folder, rng: Random, path: Path) -> None:
    path.mkdir()
    for name, what in folder.after(rng).items():
        if isinstance(what, Folder):
            _write(what, rng, path / name)
        else:
            (path / name).write_bytes(what.after(rng))
