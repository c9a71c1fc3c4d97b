"""Finding runs: below a folder, by name, or the latest."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from dlfound.errors import Code, Error
from dlfound.runs.folder import CONFIG, OUTPUTS

DEPTH = 3  # how far below a folder runs are looked for


def list_runs(below: Path = OUTPUTS) -> list[Path]:
    """Every run's folder below a folder, or the folder itself; the run that began last comes last.

    Links to folders are not followed, and hidden folders are skipped.
    """
    return _in_order(_walk(below, DEPTH))


def _in_order(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: (begun(path), path.name))


def begun(path: Path) -> float:
    """When a run's config.yaml was written, in seconds since 1970; 0 if the folder has vanished."""
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
        except (OSError, ValueError):  # not a folder, or not readable
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                yield from _walk(entry.path, depth - 1)


def run_name(path: Path) -> str:
    """The name of a run: outputs/<name>/<folder>, or its folder's if it lies in outputs/ itself."""
    return path.name if path.parent == OUTPUTS else path.parent.name


def find_run(word: str) -> Path:
    """The folder that RUN means: a path, a run's name (its newest run), or `latest` (the run that began last).

    Raises:
        Error: no such run (code 4).
    """
    if os.path.isfile(_as_path(word) / CONFIG):
        return _as_path(word)
    return _by_name(word)[-1]


def find_runs(words: Iterable[str]) -> list[Path]:
    """Every run that the words mean, once: a run's folder, all runs below a folder, all of a name, or `latest`.

    Returns:
        Their folders; the run that began last comes last.

    Raises:
        Error: a word that means no run (code 4).
    """
    paths = [path for word in words for path in _below(word) or _by_name(word)]
    return _in_order({os.path.realpath(path): path for path in paths}.values())


def _below(word: str) -> list[Path]:
    return list_runs(_as_path(word)) if word else []


def _as_path(word: str) -> Path:
    return Path(os.path.expanduser(word))


def _names(path: Path) -> tuple[str, ...]:
    return path.name, run_name(path), f"{run_name(path)}/{path.name}"


def _by_name(word: str) -> list[Path]:
    runs = list_runs()
    if matching := runs[-1:] if word == "latest" else [path for path in runs if word in _names(path)]:
        return matching
    names = sorted({run_name(path) for path in runs})
    is_folder = word and os.path.isdir(_as_path(word))
    problem = "has no config.yaml, so it is not a run's folder" if is_folder else "is not a run"
    fix = f"a path, latest, or one of: {', '.join(names)}" if names else "train one first: dlfound train"
    raise Error(f"{word or repr(word)} {problem}", fix, Code.RUN)
