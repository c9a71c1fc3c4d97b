"""The files in a sweep's folder: `sweep.yaml`, and for each trial a JSON file and one or more runs.

`dlfound compare` reads the trials without opening the sweep's storage. It trusts nothing in the files, since
a person may have edited them, or received them from someone else.
"""

import json
import math
import secrets
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from dlfound.config.yaml_files import dump_yaml, read_yaml
from dlfound.errors import Code, Error, Problem, printable
from dlfound.objective.tasks import Metrics
from dlfound.runs.comparison import Compared
from dlfound.runs.find import Summary, finite, list_runs, read_metrics, read_settings, read_summary
from dlfound.runs.folder import SWEEP, TRIALS, RunFolder, check_place, make_folder

FORMAT = 1
JOURNAL = "journal.log"
WORKERS_LOG = "workers.log"


class State(StrEnum):
    """The state of a trial: before its end, and how it ends."""

    WAITING = "waiting"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    DONE = "done"
    PRUNED = "pruned"
    DIVERGED = "diverged"
    FAILED = "failed"


@dataclass(frozen=True)
class Result:
    """The outcome of a trial.

    Attributes:
        state: done, pruned, diverged or failed.
        value: the monitored metric, averaged over the trial's runs; lower is better. None if it is undefined.
        metrics: the means over the runs, on the validation rows.
        spread: their standard deviations; empty for a single run.
        reason: why the trial diverged or failed.
        seconds: how long its training took.
        epochs: of all its runs together.
    """

    state: str
    value: float | None = None
    metrics: Metrics = field(default_factory=dict)
    spread: Metrics = field(default_factory=dict)
    reason: str = ""
    seconds: float = 0.0
    epochs: int = 0


def is_sweep(path: Path) -> bool:
    """Tell whether a folder is a sweep's."""
    return (path / SWEEP).is_file()


def sweep_of(run: Path) -> Path | None:
    """Find the sweep that a run belongs to, as a trial or as one run of a trial."""
    return next((p.parent for p in list(run.parents)[:2] if p.name == TRIALS and is_sweep(p.parent)), None)


def mean_and_spread(runs: Sequence[Mapping[str, float | None]]) -> tuple[Metrics, Metrics]:
    """Average each metric over runs.

    Returns:
        The means, and the standard deviations (empty for a single run). A metric that a run lacks is None.
    """
    means: Metrics = {}
    deviations: Metrics = {}
    for name in runs[0] if runs else ():
        values = [metrics[name] for metrics in runs if metrics.get(name) is not None]
        complete = len(values) == len(runs)
        means[name] = statistics.fmean(values) if complete else None
        if len(runs) > 1:
            deviations[name] = statistics.stdev(values) if complete else None
    return means, deviations


# ---- sweep.yaml


def open_folder(path: Path, identity: Mapping[str, str], count: int, command: str) -> None:
    """Create a sweep's folder, or check that the existing one belongs to this sweep.

    Args:
        identity: the settings that all commands working on the sweep must share.
        count: the number of trials.
        command: as typed, for the head of `sweep.yaml`.

    Raises:
        Error: the folder holds other files or another sweep (code 4), or cannot be created (code 6).
    """
    check_place(path)
    if is_sweep(path):
        _check_existing(path, identity, count)
    else:
        names = [entry.name for entry in path.iterdir()] if path.exists() else []
        # An interrupted start may have left some of the sweep's files.
        if not all(name.startswith(".") or name in (JOURNAL, WORKERS_LOG, TRIALS) for name in names):
            raise Error(f"{path} contains other files", "choose another run.dir", Code.RUN)
        content = {"format": FORMAT, "mark": secrets.token_hex(8), "sweep": dict(identity)}
        make_folder(path).write_text(SWEEP, f"# {command}\n{dump_yaml(content)}")


def _check_existing(path: Path, identity: Mapping[str, str], count: int) -> None:
    tree = read_yaml(path / SWEEP, Code.RUN)
    saved = tree.get("sweep")
    if tree.get("format") != FORMAT or not isinstance(saved, dict):
        raise Error(f"{path / SWEEP} has an unknown format", "choose another run.dir", Code.RUN)
    if problems := find_differences({key: str(value) for key, value in saved.items()}, identity):
        raise Error.of(problems, Code.RUN)
    existing = len(list((path / TRIALS).glob("*.json")))
    if existing > count:
        message = f"{path} already has {existing} trials, more than search.trials={count}"
        fix = f"use search.trials={existing} or more, or choose another run.dir"
        raise Error(message, fix, Code.RUN)


def find_differences(old: Mapping[str, str], new: Mapping[str, str]) -> list[Problem]:
    """List the settings in which two sweeps differ."""
    fix = "use the same value as before, or choose another run.dir"
    pairs = {key: (old.get(key, "not given"), new.get(key, "not given")) for key in {**old, **new}}
    return [
        Problem(f"search space differs: {key} was {before}, now {now}", fix)
        for key, (before, now) in pairs.items()
        if before != now
    ]


def read_mark(path: Path) -> str:
    """Read the random text in `sweep.yaml` that identifies this folder among those of other machines."""
    return str(read_yaml(path / SWEEP, Code.RUN)["mark"])


# ---- the file of each trial


def write_trial(sweep: Path, entry: Mapping[str, Any], result: Result | None) -> None:
    """Write what the storage knows of a trial, so that a lost storage can be rebuilt from these files.

    Args:
        entry: its `number`, its `values` as the texts of overrides, and its `params`, the same values as
            Optuna stores them.
        result: None while the trial runs.
    """
    content = {**entry, "result": None if result is None else asdict(result)}
    RunFolder(sweep / TRIALS).write_json(f"{entry['number']:04}.json", content)


def read_trial_files(sweep: Path) -> dict[Path, dict[str, Any]]:
    """Read the file of each trial; the keys are the folders of its runs.

    Raises:
        Error: a file is damaged (code 4).
    """
    folder = RunFolder(sweep / TRIALS)
    paths = sorted(folder.path.glob("*.json"))
    entries = {path.with_suffix(""): folder.read_json(path.name) for path in paths}
    for path, entry in entries.items():
        entry.setdefault("result", None)
        if not isinstance(entry.get("values"), dict) or not isinstance(entry["result"], dict | None):
            raise Error(f"{path}.json is not the file of a trial", "rerun the sweep's command", Code.RUN)
    return entries


# ---- for `dlfound compare`


def read_trials(sweep: Path) -> list[Compared]:
    """Read the trials of a sweep from its folder; only the best one gets its test metrics.

    Raises:
        Error: a file is damaged (code 4).
    """
    entries = read_trial_files(sweep)
    runs = {path: {run: read_summary(run) for run in list_runs(path)} for path in entries}
    monitor = next((summary.monitor for summaries in runs.values() for summary in summaries.values()), "loss")
    values = {}
    for path, entry in entries.items():
        if entry["result"] is not None and entry["result"].get("state") == State.DONE:
            value = finite(entry["result"].get("value"))
            values[path] = math.inf if value is None else value
    best = min(values, key=lambda path: values[path], default=None)
    return [_compared(path, entry, runs[path], monitor, path == best) for path, entry in entries.items()]


def _compared(
    path: Path, entry: Mapping[str, Any], runs: Mapping[Path, Summary], monitor: str, is_best: bool
) -> Compared:
    summaries = list(runs.values())
    values = {printable(key): _parsed(text) for key, text in entry["values"].items()}
    settings = read_settings(next(iter(runs))) if runs else values
    result = entry["result"]
    if result is None:
        running = any(summary.status == State.RUNNING for summary in summaries)
        summary = Summary(State.RUNNING if running else State.INTERRUPTED, monitor)
        return Compared(path, summary, settings, bool(runs))
    spread = {f"{name}_std": value for name, value in read_metrics(result.get("spread")).items()}
    metrics = {"val": read_metrics(result.get("metrics")) | spread}
    if is_best:
        metrics["test"], _ = mean_and_spread([summary.metrics.get("test", {}) for summary in summaries])
    summary = Summary(
        printable(result.get("state")),
        monitor,
        metrics,
        best_epoch=summaries[0].best_epoch if len(summaries) == 1 else None,
        epochs=finite(result.get("epochs")),
        seconds=finite(result.get("seconds")),
    )
    return Compared(path, summary, settings, bool(runs), printable(result.get("reason")))


def _parsed(text: Any) -> Any:
    """Turn the text of an override into the value that `config.yaml` would hold."""
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return str(text)
