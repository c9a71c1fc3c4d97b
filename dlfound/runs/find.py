"""The runs on the disk: find them by name or folder, and read a summary of each.

Nothing in a run's files is trusted, since someone else may have written or edited them.
"""

import json
import math
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlfound.config.config import FORMAT, flat
from dlfound.config.yaml_files import read_yaml
from dlfound.errors import Code, Error, printable
from dlfound.objective.tasks import HIGHER_IS_BETTER, Metrics
from dlfound.runs.durable import is_held
from dlfound.runs.folder import CONFIG, OUTPUTS, PARTS, RUN_PLACE, RunFolder, unusable

DEPTH = 3  # levels below a folder that are searched for runs
LARGEST = sys.float_info.max


# Find runs.


def list_runs(below: Path = OUTPUTS) -> list[Path]:
    """List the folders of all runs below a folder, or the folder itself; the run that began last comes last.

    Links to folders are not followed, and hidden folders are skipped.
    """
    return _in_order(_walk(below, DEPTH))


def _in_order(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: (start_time(path), path.name))


def start_time(path: Path) -> float:
    """Return when a run's config.yaml was written, in seconds since 1970; 0 if the folder has vanished."""
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
    """Return <name> of outputs/<name>/<folder>; for a folder in outputs/ itself, the folder's name."""
    return path.name if path.parent == OUTPUTS else path.parent.name


def find_run(word: str) -> Path:
    """Return the folder that RUN means: a path, a name (its newest run) or `latest` (the newest of all).

    Raises:
        Error: no such run (code 4).
    """
    path = _as_path(word)
    return path if os.path.isfile(path / CONFIG) else _by_name(word)[-1]


def find_runs(words: Iterable[str]) -> list[Path]:
    """List the runs that the words mean: a run's folder, all runs below a folder, all of a name, or `latest`.

    Returns:
        Their folders, each once; the run that began last comes last.

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
    matching = runs[-1:] if word == "latest" else [path for path in runs if word in _names(path)]
    if matching:
        return matching
    is_folder = word and os.path.isdir(_as_path(word))
    problem = "has no config.yaml, so it is not a run's folder" if is_folder else "is not a run"
    names = ", ".join(sorted({run_name(path) for path in runs}))
    fix = f"name a path, latest, or one of: {names}" if names else "train one first: dlfound train"
    raise Error(f"{word or repr(word)} {problem}", fix, Code.RUN)


# Read a summary.


@dataclass(frozen=True)
class Summary:
    """A run in brief; a value that its files lack is None or absent.

    Attributes:
        status: the report's status, such as `done`; `running` or `unfinished` if there is no DONE.
        monitor: the metric that selects the best epoch.
        metrics: train, val and test -> metric -> finite number; of an unfinished run, the best validation.
        epochs: how many epochs are over.
    """

    status: str
    monitor: str
    metrics: dict[str, Metrics] = field(default_factory=dict)
    best_epoch: float | None = None
    epochs: float | None = None
    seconds: float | None = None

    @property
    def measured(self) -> Metrics:
        """ "val_loss" -> its value, and so on."""
        return {f"{part}_{name}": v for part, metrics in self.metrics.items() for name, v in metrics.items()}


def read_summary(path: Path) -> Summary:
    """Read the report of a finished run, or the progress of an unfinished one.

    Raises:
        Error: the files are damaged, or are not a run's (code 4).
    """
    folder = RunFolder(path)
    if not os.path.exists(f"{path}/DONE"):  # faster than a Path, for thousands of runs
        return _read_progress(folder)
    report = folder.read_json("report.json")
    status = report.get("status")
    if not isinstance(status, str):
        raise unusable(f"{path / 'report.json'} has no status")
    return Summary(
        status,
        _monitor(report.get("monitor")),
        {part: read_metrics(report.get(part)) for part in PARTS},
        finite(report.get("best_epoch")),
        finite(report.get("epochs_run")),
        read_metrics(report.get("seconds")).get("total"),
    )


def _read_progress(folder: RunFolder) -> Summary:
    monitor = _monitor(read_settings(folder.path).get("train.monitor"))
    status = "running" if is_held(folder.path) else "unfinished"
    validations = [read_metrics(line.get("val")) for line in _read_epochs(folder)]
    ranks = [rank(monitor, metrics.get(monitor)) for metrics in validations]
    best = ranks.index(min(ranks)) if ranks else 0
    if not ranks or ranks[best] == math.inf:
        return Summary(status, monitor, epochs=len(validations))
    return Summary(status, monitor, {"val": validations[best]}, best + 1, len(validations))


def _monitor(value: Any) -> str:
    return printable(value) if isinstance(value, str) and value != "auto" else "loss"


def rank(metric: str, value: float | None) -> float:
    """Return a sort key that puts the best value of a metric first and an unknown value last."""
    if value is None:
        return math.inf
    return -value if metric in HIGHER_IS_BETTER else value


def _read_epochs(folder: RunFolder) -> Iterator[dict[str, Any]]:
    """Yield the lines of metrics.jsonl up to one that is still being written."""
    if not os.path.exists(folder.path / "metrics.jsonl"):
        return
    for line in folder.read_text("metrics.jsonl").splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            return
        if isinstance(value, dict):
            yield value


def read_metrics(value: Any) -> Metrics:
    """Return the metrics in a JSON object, with None for any value that is not a finite number."""
    if not isinstance(value, dict):
        return {}
    return {printable(name): finite(number) for name, number in value.items()}


def finite(value: Any) -> float | None:
    """Return the value if it is a finite number, else None."""
    is_number = type(value) is float or type(value) is int  # bool is a subclass of int
    return value if is_number and -LARGEST <= value <= LARGEST else None


def read_settings(path: Path) -> dict[str, Any]:
    """Read the settings of a run, except its name and folder: "optim" -> the option, "optim.lr" -> its value.

    A number that is not finite becomes None, since JSON has none.

    Raises:
        Error: config.yaml is damaged, or is not a run's (code 4).
    """
    tree = read_yaml(path / CONFIG, Code.RUN)
    if tree.get("format") != FORMAT:
        message = f"{path / CONFIG}: config format {printable(tree.get('format'))} is not {FORMAT}"
        raise Error(message, "check that this is a run's folder", Code.RUN)
    settings = flat({node: values for node, values in tree.items() if isinstance(values, dict)})
    plain = json.loads(json.dumps(settings), parse_constant=lambda text: None)
    return {printable(k.removesuffix(".name")): v for k, v in plain.items() if k not in RUN_PLACE}
