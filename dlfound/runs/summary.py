"""What a run's files say of it, read as a stranger's: nothing in them is trusted to be what it should."""

import json
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlfound.config.config import FORMAT, flat
from dlfound.config.yaml_files import read_yaml
from dlfound.errors import Code, Error, printable
from dlfound.objective.tasks import HIGHER_IS_BETTER
from dlfound.runs.folder import CONFIG, RunFolder
from dlfound.runs.lock import is_held

LARGEST = sys.float_info.max
PARTS = ("train", "val", "test")

Metrics = dict[str, float | None]


@dataclass(frozen=True)
class Summary:
    """A run in short; what its files do not say is None, or absent.

    Attributes:
        status: as the report says (`done`, `diverged`); where there is no DONE `running` or `unfinished`.
        monitor: the metric that chooses the best epoch.
        metrics: train, val and test -> metric -> finite number; of an unfinished run the best validation so far.
    """

    status: str
    monitor: str
    metrics: dict[str, Metrics] = field(default_factory=dict)
    best_epoch: float | None = None
    epochs: float | None = None
    seconds: float | None = None


def read_summary(path: Path) -> Summary:
    """A finished run's report, or how far the run has come.

    Raises:
        Error: the folder's files are damaged, or not a run's (code 4).
    """
    folder = RunFolder(path)
    if not os.path.exists(f"{path}/DONE"):  # no Path for each of thousands of runs
        return _so_far(folder)
    report = folder.read_json("report.json")
    status, seconds = report.get("status"), report.get("seconds")
    if not isinstance(status, str):
        raise Error(f"{path / 'report.json'} has no status", "use another run", Code.RUN)
    return Summary(
        status,
        _monitor(report.get("monitor")),
        {part: read_metrics(report.get(part)) for part in PARTS},
        finite(report.get("best_epoch")),
        finite(report.get("epochs_run")),
        finite(seconds.get("total")) if isinstance(seconds, dict) else None,
    )


def _so_far(folder: RunFolder) -> Summary:
    monitor = _monitor(read_settings(folder.path).get("train.monitor"))
    measured = [read_metrics(line.get("val")) for line in _epochs(folder)]
    judged = [(rank(monitor, found.get(monitor)), epoch) for epoch, found in enumerate(measured, 1)]
    _, best = min((j for j in judged if j[0] < math.inf), default=(math.inf, None))
    status = "running" if is_held(folder.path) else "unfinished"
    return Summary(status, monitor, {"val": measured[best - 1]} if best else {}, best, len(measured))


def _monitor(word: Any) -> str:
    return printable(word) if isinstance(word, str) and word != "auto" else "loss"


def rank(metric: str, value: float | None) -> float:
    """What to sort by so that the best value of a metric comes first, and none at all last."""
    return math.inf if value is None else -value if metric in HIGHER_IS_BETTER else value


def _epochs(folder: RunFolder) -> Iterator[dict[str, Any]]:
    """The lines of `metrics.jsonl`, up to one that is still being written."""
    if not os.path.exists(folder.path / "metrics.jsonl"):
        return
    for line in folder.read_text("metrics.jsonl").splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            return
        if isinstance(value, dict):
            yield value


def read_metrics(found: Any) -> Metrics:
    """Finite numbers by name; empty for what is no such mapping."""
    return (
        {printable(name): finite(value) for name, value in found.items()} if isinstance(found, dict) else {}
    )


def finite(value: Any) -> float | None:
    """The value, if it is a finite number."""
    is_number = type(value) is float or type(value) is int  # no bool
    return value if is_number and -LARGEST <= value <= LARGEST else None


def read_settings(path: Path) -> dict[str, Any]:
    """Every setting of a run but its name and place: "optim" -> the option, "optim.lr" -> its value.

    Raises:
        Error: `config.yaml` is damaged, or not a run's (code 4).
    """
    tree = read_yaml(path / CONFIG, Code.RUN)
    if tree.get("format") != FORMAT:
        what = f"{path / CONFIG}: config format {printable(tree.get('format'))} is not {FORMAT}"
        raise Error(what, "is it a run's?", Code.RUN)
    named = flat({node: settings for node, settings in tree.items() if isinstance(settings, dict)})
    known = {key: _plain(value) for key, value in named.items() if key not in ("run.name", "run.dir")}
    return {printable(key.removesuffix(".name")): value for key, value in known.items()}


def _plain(value: Any) -> Any:
    """The value with null for every number that is not finite: JSON has none."""
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return finite(value) if isinstance(value, float) else value
