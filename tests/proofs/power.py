"""Loss of power, simulated on the record of a run: only what was forced to the disk is sure to stay.

A write without a later `fsync` of its file is kept, lost, torn, or leaves zeros; a new, changed or removed
name without a later `fsync` of its folder is kept or lost, in any order. Real file systems promise more.

Source: Pillai et al. 2014, "All File Systems Are Not Created Equal".
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from proofs.disk import Call

Change = tuple[str | None, str | None, Any]  # in a folder: a name that goes, a name that comes, and its file


@dataclass
class File:
    """The content of a file on the disk, and the writes since it was last forced there.

    Attributes:
        pending: (offset, bytes), or (size, None) for a cut.
    """

    stored: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def now(self) -> bytes:
        """The content as the running program sees it."""
        content = self.stored
        for offset, part in self.pending:
            content = _written(content, offset, part)
        return content

    def after(self, rng: Random) -> bytes:
        """One of the contents that a loss of power may leave."""
        content = self.stored
        for offset, part in self.pending:
            how = rng.choice(("kept", "lost", "torn", "zeros"))
            if part is None or how == "kept":
                content = content if how == "lost" else _written(content, offset, part)
            elif how != "lost":
                cut = rng.randrange(len(part) + 1) if part else 0
                content = _written(content, offset, part[:cut] if how == "torn" else bytes(len(part)))
        return content


@dataclass
class Folder:
    """The names in a folder on the disk, and their changes since it was last forced there."""

    stored: dict[str, Any] = field(default_factory=dict)
    pending: list[Change] = field(default_factory=list)

    def now(self) -> dict[str, Any]:
        """The names as the running program sees them."""
        return _renamed(self.stored, self.pending)

    def after(self, rng: Random) -> dict[str, Any]:
        """One of the states that a loss of power may leave: the first changes, or any subset of them."""
        if rng.random() < 0.5:
            return _renamed(self.stored, self.pending[: rng.randrange(len(self.pending) + 1)])
        return _renamed(self.stored, [change for change in self.pending if rng.random() < 0.5])


def _written(content: bytes, offset: int, part: bytes | None) -> bytes:
    start = content[:offset].ljust(offset, b"\0")
    return start if part is None else start + part + content[offset + len(part) :]


def _renamed(names: dict[str, Any], changes: Sequence[Change]) -> dict[str, Any]:
    names = dict(names)
    for old, new, entry in changes:
        if old is not None:
            names.pop(old, None)
        if new is not None:
            names[new] = entry
    return names


class Machine:
    """A disk that replays a record of calls.

    Args:
        path: its content at first, all of it forced to the disk.
        committed: the step of the newest checkpoint that the program may rely on.
    """

    def __init__(self, path: Path, committed: int):
        self.root = _read(path)
        self.committed = committed
        self._renamed_step = committed

    def play(self, call: Call) -> None:
        """Replay one call more."""
        if not call.done:
            return
        path = Path(call.path)
        folder = self._at(str(path.parent)) if path.name else None
        match call.kind:
            case "create" | "mkdir":
                folder.pending.append((None, path.name, File() if call.kind == "create" else Folder()))
            case "write":
                self._at(call.path).pending.append(call.more)
            case "truncate":
                self._at(call.path).pending.append((call.more, None))
            case "open" if call.more == "t":
                self._at(call.path).pending.append((0, None))
            case "unlink" | "rmdir":
                folder.pending.append((path.name, None, None))
            case "rename":
                folder.pending.append((path.name, Path(call.more).name, self._at(call.path)))
            case "fsync":
                entry = self._at(call.path)
                entry.stored = entry.now()
                entry.pending = []
        self._follow(call)

    def _at(self, path: str) -> Any:
        entry = self.root
        for part in Path(path).parts:
            entry = entry.now()[part]
        return entry

    def _follow(self, call: Call) -> None:
        """A checkpoint counts once its folder was forced to the disk after the rename."""
        if call.kind == "rename" and Path(call.more).name.startswith("step-"):
            self._renamed_step = int(Path(call.more).name.split("-")[1])
        if call.kind == "close" and call.path.endswith("checkpoints"):
            self.committed = self._renamed_step

    def lose_power(self, rng: Random, path: Path) -> None:
        """Write one of the states that may be left."""
        shutil.rmtree(path, ignore_errors=True)
        _write(self.root, rng, path)


def _read(path: Path) -> Folder:
    return Folder({p.name: _read(p) if p.is_dir() else File(p.read_bytes()) for p in path.iterdir()})


def _write(folder: Folder, rng: Random, path: Path) -> None:
    path.mkdir()
    for name, entry in folder.after(rng).items():
        if isinstance(entry, Folder):
            _write(entry, rng, path / name)
        else:
            (path / name).write_bytes(entry.after(rng))
