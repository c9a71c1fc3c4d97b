"""A run's folder: where it lies, what stands in it, and who may write there."""

import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

import lazy_loader

from dlfound.errors import Code, Error, printable
from dlfound.runs.durable import (
    make_folders,
    name_aside,
    remove_aside,
    replace_durably,
    sync_file,
    sync_folder,
)

torch = lazy_loader.load("torch")

OUTPUTS = Path("outputs")
DONE, CHECKPOINTS = "DONE", "checkpoints"
LINES = ("metrics.jsonl", "timing.jsonl", "log.txt")  # what grows with a run; a resume cuts it back
CONFIG = "config.yaml"  # what makes a folder a run's: the first file that stands in it
SWEEP, TRIALS = "sweep.yaml", "trials"  # what makes a folder a sweep's, and where in it the runs lie
DEPTH = 3  # how far below a folder its runs are looked for
MAX_BYTES = 64 * 2**20  # of a text file: those of a run are far smaller


class RunFolder:
    """The files of one run, readable without this program."""

    def __init__(self, path: Path):
        self.path = path

    @property
    def finished(self) -> bool:
        """True once the run is over and everything is written."""
        try:
            return (self.path / DONE).exists()
        except OSError as error:  # a name that no file system takes
            raise _cannot_write(self.path, error) from None

    def read_json(self, name: str) -> dict[str, Any]:
        """The object in one of the folder's JSON files.

        Raises:
            Error: not there, too large, or no JSON object (code 4).
        """
        try:
            value = json.loads(self.read_text(name))
        except (ValueError, RecursionError) as error:
            raise Error(f"{self.path / name} cannot be read: {error}", "use another run", Code.RUN) from None
        if not isinstance(value, dict):
            raise Error(f"{self.path / name} holds no JSON object", "use another run", Code.RUN)
        return value

    def read_text(self, name: str) -> str:
        """One of the folder's text files.

        Raises:
            Error: not there, no plain file, too large, or not UTF-8 (code 4).
        """
        path = os.path.join(self.path, name)
        if not os.path.isfile(path):  # a pipe or a device would be read for ever
            raise Error(f"{self.path} has no {name}", "is it a finished run's folder?", Code.RUN)
        try:
            with open(path, encoding="utf-8") as file:
                if os.fstat(file.fileno()).st_size > MAX_BYTES:
                    raise Error(
                        f"{path} is larger than {MAX_BYTES // 2**20} MiB", "use another run", Code.RUN
                    )
                return file.read()
        except (OSError, ValueError) as error:
            raise Error(f"{path} cannot be read: {error}", "use another run", Code.RUN) from None

    def read_lines(self, name: str, size: int | None = None) -> list[dict[str, Any]]:
        """The objects of one of the folder's .jsonl files, or of its first bytes; none where nothing was appended."""
        return [json.loads(line) for line in self._content(name, size).decode("utf-8").splitlines()]

    def _content(self, name: str, size: int | None) -> bytes:
        path = self.path / name
        return path.read_bytes()[:size] if path.exists() else b""

    def write_json(self, name: str, value: dict[str, Any]) -> None:
        """A JSON file; numbers in it must be finite."""
        self.write_text(name, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """A whole file at once: after a crash there is the old one or the new one."""
        self.write_bytes(name, text.encode("utf-8"))

    def write_bytes(self, name: str, content: bytes) -> None:
        """As `write_text`.

        Raises:
            Error: the disk refuses (code 6).
        """
        path = self.path / name
        try:
            replace_durably(path, content, name_aside(path))
        except OSError as error:
            raise _cannot_write(path, error) from None

    def append_json(self, name: str, value: dict[str, Any]) -> None:
        """One more line of a .jsonl file."""
        self.append(name, json.dumps(value, allow_nan=False))

    def append(self, name: str, line: str) -> None:
        """One more line of a text file."""
        try:
            with (self.path / name).open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise _cannot_write(self.path / name, error) from None

    def sync(self, name: str) -> int:
        """Make durable what was appended to a file; returns its size, 0 where there is none."""
        path = self.path / name
        try:
            return sync_file(path) if path.exists() else 0
        except OSError as error:
            raise _cannot_write(path, error) from None

    def cut(self, name: str, size: int) -> bool:
        """Take off what was appended to a file after it had this size; false where it is shorter by now.

        Of a shorter one the end stays if it is a whole line, so that the next line is one of its own.
        """
        path = self.path / name
        there = path.stat().st_size if path.exists() else 0
        if there > size:
            os.truncate(path, size)
        elif 0 < there < size:
            os.truncate(path, self._content(name, there).rfind(b"\n") + 1)
        return there >= size

    def digest(self, name: str, size: int | None = None) -> str:
        """SHA-256 of a file, or of its first bytes; of nothing where there is none."""
        return hashlib.sha256(self._content(name, size)).hexdigest()

    def save_weights(self, tensors: "dict[str, torch.Tensor]") -> None:
        """`model.safetensors`."""
        self.write_bytes("model.safetensors", packed(tensors, {"format": "dlfound 1"}))

    def load_weights(self) -> "dict[str, torch.Tensor]":
        """The tensors of `model.safetensors`.

        Raises:
            Error: not there or damaged (code 4).
        """
        from safetensors.torch import load_file  # brings in torch

        path = self.path / "model.safetensors"
        try:
            return load_file(path)
        except FileNotFoundError:
            raise Error(f"{self.path} has no model.safetensors", "is the run finished?", Code.RUN) from None
        except Exception as error:
            raise Error(
                f"{path} is damaged: {str(error) or type(error).__name__}", "use another run", Code.RUN
            ) from None

    def begin(self, config: str, command: str, remarks: Sequence[str]) -> None:
        """The first file of a run: its configuration, below the command that asked for it and what is said of that."""
        head = "".join(f"# {printable(line)}\n" for line in (command, *remarks))
        self.write_text(CONFIG, head + config)

    @property
    def head(self) -> list[str]:
        """The command that began the run, and the remarks on it."""
        lines = takewhile(lambda line: line.startswith("# "), self.read_text(CONFIG).split("\n"))
        return [line.removeprefix("# ") for line in lines] or [""]

    def tidy(self) -> None:
        """Remove what a crash left half written; only for the one who holds the run's lock."""
        remove_aside(self.path)
        remove_aside(self.path / CHECKPOINTS)

    def clear(self) -> None:
        """Remove what an unfinished run left, so that it starts again from its first step."""
        for name in LINES:
            (self.path / name).unlink(missing_ok=True)
        for events in (self.path / "tensorboard").glob("events.out.tfevents.*"):
            events.unlink()

    def finish(self) -> None:
        """The last thing written."""
        self.write_text(DONE, "")

    def reopen(self) -> None:
        """The run goes on: it is not finished any more."""
        (self.path / DONE).unlink()
        sync_folder(self.path)


def packed(tensors: "Mapping[str, torch.Tensor]", metadata: dict[str, str]) -> bytes:
    """Tensors as the content of a safetensors file."""
    from safetensors.torch import save  # brings in torch

    return save(
        {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}, metadata=metadata
    )


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
        make_folders(path)
    except OSError as error:
        raise _cannot_write(path, error) from None
    return RunFolder(path)


def list_runs(below: Path = OUTPUTS) -> list[Path]:
    """Every run's folder below a place, or the place itself; the one begun last comes last.

    Links to folders are not followed, hidden folders not entered.
    """
    return _in_order(_walk(below, DEPTH))


def _in_order(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: (begun(path), path.name))


def begun(path: Path) -> float:
    """When a run's `config.yaml` was written, in seconds since 1970; 0 for a folder that is gone meanwhile."""
    try:
        return os.stat(os.path.join(path, CONFIG)).st_mtime
    except OSError:
        return 0.0


def _walk(folder: Path | str, depth: int) -> Iterator[Path]:
    if os.path.isfile(os.path.join(folder, CONFIG)):
        yield Path(folder)
    elif depth:
        try:
            entries = list(os.scandir(folder))
        except (OSError, ValueError):  # no folder, or not ours to read
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                yield from _walk(entry.path, depth - 1)


def run_name(path: Path) -> str:
    """The name below which a run lies: outputs/<name>/<folder>; its folder's where it lies in outputs/ itself."""
    return path.name if path.parent == OUTPUTS else path.parent.name


def find_run(word: str) -> Path:
    """The folder that RUN means: a path, a run's name (the newest of it), or `latest` (the one begun last of all).

    Raises:
        Error: there is no such run (code 4).
    """
    if os.path.isfile(_typed(word) / CONFIG):
        return _typed(word)
    return _named(word)[-1]


def find_runs(words: Iterable[str]) -> list[Path]:
    """Every run that the words mean, once: a run's folder, all below a folder of runs, all of a name, or `latest`.

    Returns:
        Their folders, the one begun last at the end.

    Raises:
        Error: a word that means no run (code 4).
    """
    found = [path for word in words for path in (list_runs(_typed(word)) if word else []) or _named(word)]
    return _in_order({os.path.realpath(path): path for path in found}.values())


def _typed(word: str) -> Path:
    return Path(os.path.expanduser(word))


def _names(path: Path) -> tuple[str, ...]:
    return path.name, run_name(path), f"{run_name(path)}/{path.name}"


def _named(word: str) -> list[Path]:
    runs = list_runs()
    if found := runs[-1:] if word == "latest" else [path for path in runs if word in _names(path)]:
        return found
    names = sorted({run_name(path) for path in runs})
    what = (
        "has no config.yaml: it is no run's folder"
        if word and os.path.isdir(_typed(word))
        else "names no run"
    )
    fix = f"a path, latest, or one of: {', '.join(names)}" if names else "train one first: dlfound train"
    raise Error(f"{word or repr(word)} {what}", fix, Code.RUN)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Tell in words what the disk refuses to a run in this folder.

    Raises:
        Error: it refuses (code 6).
    """
    try:
        yield
    except BrokenPipeError:  # the sweep that the run is a trial of is gone: no trouble of the disk
        raise
    except OSError as error:
        what = f"cannot go on in {path}: {error.filename or 'a file there'}: {error.strerror or error}"
        raise Error(what, "see to the disk, then go on with resume=RUN", Code.RESOURCES) from None


def _cannot_write(path: Path, error: OSError) -> Error:
    gone = isinstance(error, FileNotFoundError)
    fix = (
        "choose another run.dir"
        if gone
        else "make room, then go on with resume=RUN; or choose another run.dir"
    )
    return Error(f"cannot write to {path}: {error.strerror or error}", fix, Code.RESOURCES)
