"""Checkpoints: all that an exact resume needs, a file each. After a crash there is the old one or the new one.

A file is written under a temporary name, made durable, and only then gets its own name, which holds its digest: one
rename commits content and checksum together. What stands under such a name was written whole.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lazy_loader

from dlfound.errors import Code, Error
from dlfound.runs.durable import name_aside, replace_durably, sync_folder
from dlfound.runs.folder import CHECKPOINTS, packed

torch = lazy_loader.load("torch")

NAME = re.compile(r"step-(\d{12})-([0-9a-f]{16})\.safetensors")
KEPT = 2  # the newest and the one before it: where a disk damages one, the other is there
BAD = ".bad"  # behind the name of one that is damaged
BAD_KEPT = 4  # for whoever wants to look at them; a disk that goes on failing must not fill up with them
DIGITS = 16


@dataclass(frozen=True)
class Checkpoint:
    """One moment of a training.

    Attributes:
        step: updates made so far.
        tensors: what is kept as tensors, on the CPU.
        state: what is kept as JSON.
    """

    step: int
    tensors: "dict[str, torch.Tensor]"
    state: dict[str, Any]


class Checkpoints:
    """The checkpoints of a run's folder."""

    def __init__(self, run: Path):
        self.path = run / CHECKPOINTS

    def save(self, step: int, tensors: "Mapping[str, torch.Tensor]", state: Mapping[str, Any]) -> None:
        """Write one durably, then remove those that are older than the last two.

        Raises:
            Error: it could not be written (code 6); those that were there are intact.
        """
        content = packed(tensors, {"dlfound": json.dumps(state, allow_nan=False)})
        name = f"step-{step:012}-{_digest(content)}.safetensors"
        try:
            self.path.mkdir(exist_ok=True)
            sync_folder(self.path.parent)  # its name there, and those of the files that a resume cuts back
            replace_durably(self.path / name, content, name_aside(self.path / name))
            for _, old in self._stored()[:-KEPT]:
                old.unlink()
        except OSError as error:
            raise self._cannot_write(len(content), error) from None

    def _cannot_write(self, size: int, error: OSError) -> Error:
        stored = self._stored()
        last = (
            f"the last good checkpoint is that of step {stored[-1][0]}"
            if stored
            else "there is no checkpoint yet"
        )
        what = f"cannot write a checkpoint of {size / 1e6:.1f} MB to {self.path}: {error.strerror or error}; {last}"
        return Error(what, "make room, then go on with resume=RUN", Code.RESOURCES)

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest that is whole, None where there is none at all; and what to tell of those that are damaged.

        A damaged file is set aside under a name ending in .bad; of those the newest few are kept.

        Raises:
            Error: there are checkpoints, and every one is damaged; or their folder is a link (code 4).
        """
        told: list[str] = []
        if self.path.is_symlink():
            raise Error(f"{self.path} is a link", "put the folder itself in its place", Code.RUN)
        for step, path in reversed(self._stored()):
            found = _read(path, step)
            if found is not None:
                return found, told + self._prune_bad()
            path.rename(path.with_name(path.name + BAD))
            told.append(f"the checkpoint of step {step} is damaged; it is set aside as {path.name}{BAD}")
        if bad := self._stored(BAD):  # also those of an earlier start
            what = f"every checkpoint in {self.path} is damaged: {', '.join(path.name for _, path in bad)}"
            raise Error(what, "train anew in another run.dir, or remove them to begin again here", Code.RUN)
        return None, told

    def _prune_bad(self) -> list[str]:
        old = [path for _, path in self._stored(BAD)[:-BAD_KEPT]]
        for path in old:
            path.unlink()
        return [f"{path.name}, damaged long ago, is removed" for path in old]

    def _stored(self, end: str = "") -> list[tuple[int, Path]]:
        """(step, file), the oldest first: by the step in the name, never by a time; `end`: behind the usual name."""
        if not self.path.is_dir():
            return []
        names = [(path.name, path) for path in self.path.iterdir() if path.name.endswith(end)]
        files = [(NAME.fullmatch(name.removesuffix(end)), path) for name, path in names]
        return sorted((int(match[1]), path) for match, path in files if match and _is_plain(path))


def _is_plain(path: Path) -> bool:
    """True for a file that can be read to its end, and lies where its name stands."""
    return path.is_file() and not path.is_symlink()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:DIGITS]


def _read(path: Path, step: int) -> Checkpoint | None:
    """None where the content is not what the name says."""
    from safetensors.torch import load  # brings in torch

    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[
            :DIGITS
        ]  # before any of it is kept in memory
    if path.name != f"step-{step:012}-{digest}.safetensors":
        return None
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")  # the header's: safetensors hands out tensors only
    try:
        state = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["dlfound"])
        return Checkpoint(step, load(content), state) if isinstance(state, dict) else None
    except Exception:  # rightly named, but no checkpoint: not of our making
        return None
