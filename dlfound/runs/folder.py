"""A run's folder: where it lies, what stands in it, and who may write there."""

import json
import os
import secrets
import time
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save
from torch import Tensor

from dlfound.errors import Code, Error

OUTPUTS = Path("outputs")


class RunFolder:
    """The files of one run, readable without this program."""

    def __init__(self, path: Path):
        self.path = path

    @property
    def finished(self) -> bool:
        """True once the run is over and everything is written."""
        try:
            return (self.path / "DONE").exists()
        except OSError as error:  # a name that no file system takes
            raise _cannot_write(self.path, error) from None

    def read_json(self, name: str) -> dict[str, Any]:
        """One of the folder's JSON files.

        Raises:
            Error: not there, or not JSON (code 4).
        """
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise Error(f"{self.path} has no {name}", "is it a finished run's folder?", Code.RUN) from None
        except (OSError, ValueError) as error:
            raise Error(f"{self.path / name} cannot be read: {error}", "use another run", Code.RUN) from None

    def read_lines(self, name: str) -> list[dict[str, Any]]:
        """The objects of one of the folder's .jsonl files."""
        return [json.loads(line) for line in (self.path / name).read_text(encoding="utf-8").splitlines()]

    def write_json(self, name: str, value: dict[str, Any]) -> None:
        """A JSON file; numbers in it must be finite."""
        self.write_text(name, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """A whole file at once: written aside, then renamed."""
        self.write_bytes(name, text.encode("utf-8"))

    def write_bytes(self, name: str, content: bytes) -> None:
        aside = self.path / f".{name}.{secrets.token_hex(4)}"
        try:
            aside.write_bytes(content)
            aside.replace(self.path / name)
        except OSError as error:
            raise _cannot_write(self.path, error) from None

    def append_json(self, name: str, value: dict[str, Any]) -> None:
        """One more line of a .jsonl file."""
        self.append(name, json.dumps(value, allow_nan=False))

    def append(self, name: str, line: str) -> None:
        """One more line of a text file."""
        try:
            with (self.path / name).open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise _cannot_write(self.path, error) from None

    def save_weights(self, tensors: dict[str, Tensor]) -> None:
        """`model.safetensors`."""
        flat = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
        self.write_bytes("model.safetensors", save(flat, metadata={"format": "dlfound 1"}))

    def load_weights(self) -> dict[str, Tensor]:
        """The tensors of `model.safetensors`.

        Raises:
            Error: not there or damaged (code 4).
        """
        path = self.path / "model.safetensors"
        try:
            return load_file(path)
        except FileNotFoundError:
            raise Error(f"{self.path} has no model.safetensors", "is the run finished?", Code.RUN) from None
        except Exception as error:
            raise Error(f"{path} is damaged: {error or type(error).__name__}", "use another run", Code.RUN) from None

    def clear(self) -> None:
        """Remove what an unfinished run left, so that it starts again from its first step."""
        for name in ("metrics.jsonl", "timing.jsonl", "log.txt"):
            (self.path / name).unlink(missing_ok=True)
        for events in (self.path / "tensorboard").glob("events.out.tfevents.*"):
            events.unlink()

    def finish(self) -> None:
        """The last thing written."""
        self.write_text("DONE", "")


def new_path(name: str) -> Path:
    """outputs/<name>/<date>_<time>-<4 hex>."""
    return OUTPUTS / name / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}-{secrets.token_hex(2)}"


def check_place(path: Path) -> None:
    """Fail early where no folder can be made.

    Raises:
        Error: something that is no folder stands in the way, or permission is missing (code 6).
    """
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise Error(f"cannot write to {path}: {there} is no folder", "choose another run.dir", Code.RESOURCES)
    if not os.access(there, os.W_OK | os.X_OK):
        raise Error(f"cannot write to {path}: permission denied", "choose another run.dir", Code.RESOURCES)


def make_folder(path: Path) -> RunFolder:
    """Make the folder and those above it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(path, error) from None
    return RunFolder(path)


def find_run(word: str) -> Path:
    """The folder that RUN means: a path, a run's name, or `latest` (the one begun last below outputs/).

    Raises:
        Error: there is no such run (code 4).
    """
    runs = sorted(OUTPUTS.glob("*/*/config.yaml"), key=lambda p: (p.stat().st_mtime_ns, p.parent.name))
    if (Path(word).expanduser() / "config.yaml").is_file():
        return Path(word).expanduser()
    named = [p.parent for p in runs if word in ("latest", p.parent.name, p.parent.parent.name)]
    if named:
        return named[-1]
    names = sorted({p.parent.parent.name for p in runs})
    what = "has no config.yaml: it is no run's folder" if Path(word).is_dir() else "names no run"
    fix = f"a path, latest, or one of: {', '.join(names)}" if names else "train one first: dlfound train"
    raise Error(f"{word} {what}", fix, Code.RUN)


def _cannot_write(path: Path, error: OSError) -> Error:
    return Error(f"cannot write to {path}: {error.strerror}", "make room, or choose another run.dir", Code.RESOURCES)
