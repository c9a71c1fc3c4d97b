"""Checkpoints: everything that an exact resume needs, one file each.

`split` and `read` turn dataclasses into JSON and tensors, and back.

A checkpoint is written under a temporary name and forced to the disk; only then it gets its own name, which
contains its digest. One rename commits content and checksum together: a file under such a name is complete.
"""

import hashlib
import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from safetensors.torch import load
from torch import Tensor

from dlfound.config.setting_types import setting_type
from dlfound.errors import Code, Error
from dlfound.runs.durable import replace_durably, sync_folder
from dlfound.runs.folder import CHECKPOINTS, packed

NAME = re.compile(r"step-(\d{12})-([0-9a-f]{16})\.safetensors")
KEPT = 2  # the newest, and the one before it in case the disk damages the newest
BAD = ".bad"  # suffix of a damaged checkpoint
BAD_KEPT = 4  # damaged checkpoints that are kept for inspection; a failing disk must not fill up with them
DIGITS = 16  # of the SHA-256 in a name
SOONEST = 1.0  # seconds between two checkpoints with train.checkpoint=auto: less work is quickly done again
SHARE = 50  # and at least this many times the time that writing one takes: at most 2 % of the training

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """One moment of a training, as it is stored.

    Attributes:
        step: how many updates were made.
        tensors: the tensors of the state, on the CPU.
        state: the rest of the state, as JSON.
    """

    step: int
    tensors: Tensors
    state: dict[str, Any]


class Checkpoints:
    """The checkpoints of a run's folder."""

    def __init__(self, run: Path):
        self.path = run / CHECKPOINTS

    def save(self, step: int, tensors: Tensors, state: Mapping[str, Any]) -> None:
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
            steps = [step for step, _ in self._stored()]
            last = (
                f"the last good checkpoint is of step {steps[-1]}" if steps else "there is no checkpoint yet"
            )
            problem = f"cannot write a checkpoint of {len(content) / 1e6:.1f} MB to {self.path}"
            fix = "free some space, then resume with resume=RUN"
            raise Error(f"{problem}: {error.strerror or error}; {last}", fix, Code.RESOURCES) from None

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """Read the newest undamaged checkpoint, if any; return it, or None, and warnings about damaged ones.

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
            message = f"every checkpoint in {self.path} is damaged: {', '.join(path.name for _, path in bad)}"
            fix = "start a new run in another run.dir, or remove them to start again here"
            raise Error(message, fix, Code.RUN)
        return None, warnings

    def _prune_bad(self) -> list[str]:
        old = [path for _, path in self._stored(BAD)[:-BAD_KEPT]]
        for path in old:
            path.unlink()
        return [f"removed {path.name}, an old damaged checkpoint" for path in old]

    def _stored(self, suffix: str = "") -> list[tuple[int, Path]]:
        """List (step, file) by the step in the name, never by a time; `suffix` follows the usual name."""
        files = list(self.path.iterdir()) if self.path.is_dir() else []
        named = [path for path in files if path.name.endswith(suffix) and path.is_file()]
        matches = [(NAME.fullmatch(path.name.removesuffix(suffix)), path) for path in named]
        return sorted((int(match[1]), path) for match, path in matches if match and not path.is_symlink())


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
        """Return True if a checkpoint should be written now.

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


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:DIGITS]


def _read(path: Path, step: int) -> Checkpoint | None:
    """Read the checkpoint in a file; return None if the content is not what the name says."""
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


# Dataclasses to JSON and tensors, and back. Their annotations are the schema: every value is checked.
# In JSON a tensor is represented by its shape; the tensor itself has its field's name, such as `best.params`.


class BadField(Exception):
    """A value that does not fit the annotation of its field; the argument is the field's name."""


def split(value: Any) -> tuple[Any, Tensors]:
    """Return the JSON value and the tensors of a dataclass, list, dictionary, tensor or plain value."""
    tensors = {}

    def plain(value: Any, name: str) -> Any:
        if isinstance(value, Tensor):
            tensors[name] = value
            return list(value.shape)
        if is_dataclass(value):
            value = vars(value)
        if isinstance(value, list):
            return [plain(item, _join(name, i)) for i, item in enumerate(value)]
        if isinstance(value, dict):
            return {key: plain(item, _join(name, key)) for key, item in value.items()}
        return value

    return plain(value, ""), tensors


def read(kind: Any, value: Any, tensors: Tensors, name: str = "", *, extra: bool = False) -> Any:
    """Return the value of type `kind` that `split` took apart.

    Args:
        kind: a dataclass, or the annotation of a field: Tensor, a type of `config.setting_types`, bool,
            float, str, Literal of texts, list, dict, or one of these or None.
        extra: True where a dataclass's dictionary may hold other keys too.

    Raises:
        BadField: a value is missing, or is not of its field's type.
    """

    def inner(kind: Any, value: Any, key: str | int) -> Any:
        return read(kind, value, tensors, _join(name, key), extra=extra)

    origin = get_origin(kind)
    if kind is Tensor:
        _ensure(name in tensors and list(tensors[name].shape) == value, name)
        return tensors[name]
    if is_dataclass(kind):
        _ensure(type(value) is dict, name)
        types = get_type_hints(kind, include_extras=True)
        wrong = types.keys() - value.keys() if extra else types.keys() ^ value.keys()
        _ensure(not wrong, _join(name, min(wrong, default="")))
        return kind(**{key: inner(part, value[key], key) for key, part in types.items()})
    if origin is list:
        _ensure(type(value) is list, name)
        return [inner(get_args(kind)[0], item, i) for i, item in enumerate(value)]
    if origin is dict:
        _ensure(type(value) is dict, name)
        return {key: inner(get_args(kind)[1], item, key) for key, item in value.items()}
    if origin in (Union, UnionType):
        (some,) = (part for part in get_args(kind) if part is not NoneType)
        return None if value is None else read(some, value, tensors, name)
    return _plain(kind, origin, value, name)


def _plain(kind: Any, origin: Any, value: Any, name: str) -> Any:
    if origin is Annotated:
        try:
            return setting_type(kind).read(value)
        except (ValueError, TypeError, OverflowError):
            raise BadField(name) from None
    if origin is Literal:
        _ensure(value in get_args(kind), name)
    elif kind is float:
        _ensure(type(value) in (int, float) and math.isfinite(value), name)
    else:
        _ensure(kind is Any or type(value) is kind, name)
    return value


def _ensure(condition: bool, name: str) -> None:
    if not condition:
        raise BadField(name)


def _join(name: str, part: str | int) -> str:
    return f"{name}.{part}" if name else str(part)
