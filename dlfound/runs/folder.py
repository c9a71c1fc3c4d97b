"""The folder of a run: its files, readable without this program."""

import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlfound.errors import Code, Error, printable
from dlfound.runs.durable import make_folders, remove_aside, replace_durably, sync_file, sync_folder, writing

if TYPE_CHECKING:
    from torch import Tensor

OUTPUTS = Path("outputs")
CONFIG = "config.yaml"  # the first file of a run: it makes a folder a run's
DONE = "DONE"  # the last one
CHECKPOINTS = "checkpoints"
LINES = ("metrics.jsonl", "timing.jsonl", "log.txt")  # they grow with a run; a resume cuts them back
SWEEP = "sweep.yaml"  # it makes a folder a sweep's
PARTS = ("train", "val", "test")  # of the data
RUN_PLACE = ("run.name", "run.dir")  # the settings that say where a run is, and change no result
TRIALS = "trials"  # the folder of a sweep's runs
MAX_BYTES = 64 * 2**20  # of a text file; those of a run are far smaller


class RunFolder:
    """The files of one run."""

    def __init__(self, path: Path):
        self.path = path

    @property
    def finished(self) -> bool:
        """True once the run is over and all its files are written."""
        with writing(self.path):  # it may have a name that no file system accepts
            return (self.path / DONE).exists()

    # Reading.

    def read_json(self, name: str) -> dict[str, Any]:
        """Read the object in a JSON file.

        Raises:
            Error: the file is missing, too large, or does not contain a JSON object (code 4).
        """
        try:
            value = json.loads(self.read_text(name))
        except (ValueError, RecursionError) as error:
            raise unusable(f"{self.path / name} is not valid JSON: {error}") from None
        if not isinstance(value, dict):
            raise unusable(f"{self.path / name} does not contain a JSON object")
        return value

    def read_text(self, name: str) -> str:
        """Read a text file.

        Raises:
            Error: the file is missing, not a regular file, too large, or not UTF-8 (code 4).
        """
        path = os.path.join(self.path, name)
        if not os.path.isfile(path):  # reading a pipe or a device could wait for ever
            raise missing(self.path, name)
        try:
            with open(path, encoding="utf-8") as file:
                if os.fstat(file.fileno()).st_size > MAX_BYTES:
                    raise unusable(f"{path} is larger than {MAX_BYTES // 2**20} MiB")
                return file.read()
        except (OSError, ValueError) as error:
            raise unusable(f"cannot read {path}: {error}") from None

    def read_lines(self, name: str, size: int | None = None) -> list[dict[str, Any]]:
        """Read the objects in a .jsonl file, or in its first `size` bytes; an absent file has none."""
        return [json.loads(line) for line in self._content(name, size).decode("utf-8").splitlines()]

    def digest(self, name: str, size: int | None = None) -> str:
        """Return the SHA-256 of a file, or of its first `size` bytes; an absent file counts as empty."""
        return hashlib.sha256(self._content(name, size)).hexdigest()

    def _content(self, name: str, size: int | None) -> bytes:
        path = self.path / name
        return path.read_bytes()[:size] if path.exists() else b""

    @property
    def head(self) -> list[str]:
        """The comments at the head of config.yaml: the command that began the run, and remarks."""
        lines = takewhile(lambda line: line.startswith("# "), self.read_text(CONFIG).split("\n"))
        return [line.removeprefix("# ") for line in lines] or [""]

    # Writing. Each method raises Error (code 6) if the disk refuses.

    def write_json(self, name: str, value: dict[str, Any]) -> None:
        """Write a JSON file; its numbers must be finite."""
        self.write_text(name, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Replace a text file, as `write_bytes` does."""
        self.write_bytes(name, text.encode("utf-8"))

    def write_bytes(self, name: str, content: bytes) -> None:
        """Replace a file: after a crash there is the old one or the new one."""
        with writing(self.path / name):
            replace_durably(self.path / name, content)

    def append_json(self, name: str, value: dict[str, Any]) -> None:
        """Append an object to a .jsonl file."""
        self.append(name, json.dumps(value, allow_nan=False))

    def append(self, name: str, line: str) -> None:
        """Append a line to a text file."""
        path = self.path / name
        with writing(path), path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def sync(self, name: str) -> int:
        """Force a file's content to the disk; return its size, 0 if it is absent."""
        path = self.path / name
        with writing(path):
            return sync_file(path) if path.exists() else 0

    def cut(self, name: str, size: int) -> bool:
        """Cut a file back to a size that it had; return False if it is shorter.

        A shorter file keeps its whole lines, so that the next line does not continue half a line.
        """
        path = self.path / name
        now = path.stat().st_size if path.exists() else 0
        if now > size:
            os.truncate(path, size)
        elif 0 < now < size:
            os.truncate(path, self._content(name, now).rfind(b"\n") + 1)
        return now >= size

    def begin(self, config: str, command: str, remarks: Sequence[str]) -> None:
        """Write config.yaml: the command and remarks as comments, then the configuration."""
        head = "".join(f"# {printable(line)}\n" for line in (command, *remarks))
        self.write_text(CONFIG, head + config)

    def finish(self, report: dict[str, Any]) -> None:
        """Write report.json, then DONE, which marks the run as finished."""
        self.write_json("report.json", report)
        self.write_text(DONE, "")

    # Cleaning up. Only the holder of the run's lock may do this.

    def reopen(self) -> None:
        """Mark a finished run as unfinished, since it continues."""
        (self.path / DONE).unlink()
        sync_folder(self.path)

    def remove_half_written(self) -> None:
        """Remove temporary files that a crash left."""
        remove_aside(self.path)
        remove_aside(self.path / CHECKPOINTS)

    def clear_progress(self) -> None:
        """Remove the lines and curves of an unfinished run that begins again from its first step."""
        for path in [*map(self.path.joinpath, LINES), *self.path.glob("tensorboard/events.out.tfevents.*")]:
            path.unlink(missing_ok=True)


def save_weights(folder: RunFolder, tensors: "Mapping[str, Tensor]") -> None:
    """Write model.safetensors."""
    folder.write_bytes("model.safetensors", packed(tensors, {"format": "dlfound 1"}))


def load_weights(path: Path) -> "dict[str, Tensor]":
    """Read the tensors of model.safetensors in a run's folder.

    Raises:
        Error: the file is missing or damaged (code 4).
    """
    from safetensors.torch import load_file  # imports torch

    file = path / "model.safetensors"
    try:
        return load_file(file)
    except FileNotFoundError:
        raise missing(path, file.name) from None
    except Exception as error:
        raise unusable(f"{file} is damaged: {str(error) or type(error).__name__}") from None


def missing(path: Path, name: str) -> Error:
    """Return the error for a run's folder that lacks a file (code 4)."""
    return Error(f"{path} has no {name}", "name the folder of a finished run", Code.RUN)


def unusable(message: str) -> Error:
    """Return the error for a file of a run that cannot be used (code 4)."""
    return Error(message, "use another run", Code.RUN)


def mismatch(message: str) -> Error:
    """Return the error for files that do not fit together (code 4)."""
    return Error(message, "use files from one run", Code.RUN)


def packed(tensors: "Mapping[str, Tensor]", metadata: dict[str, str]) -> bytes:
    """Pack tensors as the content of a safetensors file."""
    from safetensors.torch import save  # imports torch

    copies = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    return save(copies, metadata=metadata)


# The place of a folder.


def new_path(name: str) -> Path:
    """Return outputs/<name>/<date>_<time>-<4 hex>."""
    return OUTPUTS / name / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}-{secrets.token_hex(2)}"


def check_place(path: Path) -> None:
    """Fail early if a folder cannot be made.

    Raises:
        Error: a file stands in the way, or permission is missing (code 6).
    """
    existing = path
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    reason = "" if os.access(existing, os.W_OK | os.X_OK) else "permission denied"
    if not existing.is_dir():
        reason = f"{existing} is not a folder"
    if reason:
        raise Error(f"cannot write to {path}: {reason}", "choose another run.dir", Code.RESOURCES)


def make_folder(path: Path) -> RunFolder:
    """Make a run's folder and those above it.

    Raises:
        Error: the disk refuses (code 6).
    """
    with writing(path):
        make_folders(path)
    return RunFolder(path)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an OSError of a run in this folder into an Error (code 6)."""
    try:
        yield
    except BrokenPipeError:  # a reader of the output is gone: the disk is not at fault
        raise
    except OSError as error:
        file = error.filename or "a file there"
        message = f"cannot continue in {path}: {file}: {error.strerror or error}"
        raise Error(message, "check the disk, then resume with resume=RUN", Code.RESOURCES) from None
