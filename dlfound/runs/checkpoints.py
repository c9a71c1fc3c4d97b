"""Checkpoints: everything that an exact resume needs, one file each.

A checkpoint is written under a temporary name and forced to the disk; only then it gets its own name, which
contains its digest. One rename commits content and checksum together: a file under such a name is complete.
"""

import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lazy_loader

from dlfound.errors import Code, Error
from dlfound.runs.durable import replace_durably, sync_folder
from dlfound.runs.folder import CHECKPOINTS, packed

torch = lazy_loader.load("torch")

NAME = re.compile(r"step-(\d{12})-([0-9a-f]{16})\.safetensors")
KEPT = 2  # the newest, and the one before it in case the disk damages the newest
BAD = ".bad"  # suffix of a damaged checkpoint
BAD_KEPT = 4  # damaged checkpoints that are kept for inspection; a failing disk must not fill up with them
DIGITS = 16  # of the SHA-256 in a name
SOONEST = 1.0  # seconds between two checkpoints with train.checkpoint=auto: less work is quickly done again
SHARE = 50  # and at least this many times the time that writing one takes: at most 2 % of the training


@dataclass(frozen=True)
class Checkpoint:
    """One moment of a training, as it is stored.

    Attributes:
        step: how many updates were made.
        tensors: the tensors of the state, on the CPU.
        state: the rest of the state, as JSON.
    """

    step: int
    tensors: "dict[str, torch.Tensor]"
    state: dict[str, Any]


class Checkpoints:
    """The checkpoints of a run's folder."""

    def __init__(self, run: Path):
        self.path = run / CHECKPOINTS

    def save(self, step: int, tensors: "Mapping[str, torch.Tensor]", state: Mapping[str, Any]) -> None:
        """Write a checkpoint durably, then remove all but the last two.

        Raises:
            Error: the disk refuses (code 6); the earlier checkpoints are intact.
        """
        content = packed(tensors, {"dlfound": json.dumps(state, allow_nan=False)})
        name = f"step-{step:012}-{_digest(content)}.safetensors"
        try:
            self.path.mkdir(exist_ok=True)
            sync_folder(self.path.parent)  # the folder's name, and those of the files that a resume cuts back
            replace_durably(self.path / name, content)
            for _, old in self._stored()[:-KEPT]:
                old.unlink()
        except OSError as error:
            raise self._cannot_write(len(content), error) from None

    def _cannot_write(self, size: int, error: OSError) -> Error:
        stored = self._stored()
        last = "there is no checkpoint yet"
        if stored:
            last = f"the last good checkpoint is of step {stored[-1][0]}"
        reason = error.strerror or error
        message = f"cannot write a checkpoint of {size / 1e6:.1f} MB to {self.path}: {reason}; {last}"
        return Error(message, "free some space, then resume with resume=RUN", Code.RESOURCES)

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest undamaged checkpoint, None if there are no checkpoints; and warnings about damaged ones.

        A damaged file gets a name that ends in .bad; the newest few of those are kept.

        Raises:
            Error: every checkpoint is damaged, or their folder is a link (code 4).
        """
        warnings: list[str] = []
        if self.path.is_symlink():
            raise Error(f"{self.path} is a link", "replace it by the folder itself", Code.RUN)
        for step, path in reversed(self._stored()):
            checkpoint = _read(path, step)
            if checkpoint is not None:
                return checkpoint, warnings + self._prune_bad()
            path.rename(path.with_name(path.name + BAD))
            warnings.append(f"the checkpoint of step {step} is damaged; it is now {path.name}{BAD}")
        if bad := self._stored(BAD):  # also those of an earlier start
            names = ", ".join(path.name for _, path in bad)
            message = f"every checkpoint in {self.path} is damaged: {names}"
            fix = "train anew in another run.dir, or remove them to train anew here"
            raise Error(message, fix, Code.RUN)
        return None, warnings

    def _prune_bad(self) -> list[str]:
        old = [path for _, path in self._stored(BAD)[:-BAD_KEPT]]
        for path in old:
            path.unlink()
        return [f"removed {path.name}, an old damaged checkpoint" for path in old]

    def _stored(self, suffix: str = "") -> list[tuple[int, Path]]:
        """(step, file) ordered by the step in the name, never by a time; `suffix` follows the usual name."""
        if not self.path.is_dir():
            return []
        names = [(path.name, path) for path in self.path.iterdir() if path.name.endswith(suffix)]
        files = [(NAME.fullmatch(name.removesuffix(suffix)), path) for name, path in names]
        return sorted((int(match[1]), path) for match, path in files if match and _is_regular(path))


class Schedule:
    """When the next checkpoint is due. Its clock decides what is saved, never what is computed.

    Args:
        setting: `train.checkpoint`: a number of epochs, seconds such as "30s", or auto.
    """

    def __init__(self, setting: int | str):
        self.epochs = setting if isinstance(setting, int) else 0
        self.auto = setting == "auto"
        self.wait = SOONEST if self.auto else float(str(setting).removesuffix("s"))
        self._last = time.perf_counter()

    def due(self, epoch: int = 0) -> bool:
        """True if a checkpoint should be written now.

        Args:
            epoch: the number of the epoch that has just ended; 0 inside an epoch.
        """
        if self.epochs:
            return epoch > 0 and epoch % self.epochs == 0
        return time.perf_counter() - self._last >= self.wait

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Measure how long it takes to write a checkpoint, and wait accordingly for the next one."""
        started = time.perf_counter()
        yield
        self._last = time.perf_counter()
        if self.auto:
            self.wait = max(SOONEST, SHARE * (self._last - started))


def _is_regular(path: Path) -> bool:
    """True for a regular file that is not a link."""
    return path.is_file() and not path.is_symlink()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:DIGITS]


def _read(path: Path, step: int) -> Checkpoint | None:
    """The checkpoint in a file; None if the content is not what the name says."""
    from safetensors.torch import load  # imports torch

    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]  # before any of it is in memory
    if path.name != f"step-{step:012}-{digest}.safetensors":
        return None
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")  # of the header, from which safetensors reads tensors only
    try:
        state = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["dlfound"])
        return Checkpoint(step, load(content), state) if isinstance(state, dict) else None
    except Exception:  # the name is right, but the content was not written by dlfound
        return None
