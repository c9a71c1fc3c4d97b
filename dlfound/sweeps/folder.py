"""The files in a sweep's folder: `sweep.yaml`, and for each trial a JSON file and one or more runs.

`dlfound compare` reads the trials without opening the sweep's storage. It trusts nothing in the files, since
a person may have edited them, or received them from someone else.
"""

import json
import secrets
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from dlfound.config.yaml_files import dump_yaml, read_yaml
from dlfound.errors import Code, Error, Problem, printable
from dlfound.runs.comparison import Compared
from dlfound.runs.find import Metrics, Summary, finite, list_runs, read_metrics, read_settings, read_summary
from dlfound.runs.folder import SWEEP, TRIALS, RunFolder, check_place, make_folder

FORMAT = 1
JOURNAL = "journal.log"
WORKERS_LOG = "workers.log"

# The states of a trial: before its end, and how it ends.
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
        return
    if path.exists() and any(not _may_precede(entry.name) for entry in path.iterdir()):
        raise Error(f"{path} contains other files", "choose another run.dir", Code.RUN)
    content = {"format": FORMAT, "mark": secrets.token_hex(8), "sweep": dict(identity)}
    make_folder(path).write_text(SWEEP, f"# {command}\n{dump_yaml(content)}")


def _may_precede(name: str) -> bool:
    """Tell whether a sweep whose start was interrupted may have left this file."""
    return name.startswith(".") or name in (JOURNAL, WORKERS_LOG, TRIALS)


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
    problems = []
    for key in {**old, **new}:
        before = old.get(key, "not given")
        now = new.get(key, "not given")
        if before != now:
            message = f"search space differs: {key} was {before}, now {now}"
            problems.append(Problem(message, "use the same value as before, or choose another run.dir"))
    return problems


def read_mark(path: Path) -> str:
    """Read the random text in `sweep.yaml` that identifies this folder among those of other machines."""
    return str(read_yaml(path / SWEEP, Code.RUN)["mark"])


# ---- the file of each trial


def write_trial(
    sweep: Path, number: int, values: Mapping[str, str], params: Mapping[str, Any], result: Result | None
) -> None:
    """Write what the storage knows of a trial, so that a lost storage can be rebuilt from these files.

    Args:
        values: the text of each value, as in an override.
        params: the same values as Optuna stores them.
        result: None while the trial runs.
    """
    content = {
        "number": number,
        "values": dict(values),
        "params": dict(params),
        "result": None if result is None else asdict(result),
    }
    RunFolder(sweep / TRIALS).write_json(f"{number:04}.json", content)


def read_trial_files(sweep: Path) -> dict[Path, dict[str, Any]]:
    """Read the file of each trial; the keys are the folders of its runs.

    Raises:
        Error: a file is damaged (code 4).
    """
    folder = RunFolder(sweep / TRIALS)
    paths = sorted(folder.path.glob("*.json"))
    return {path.with_suffix(""): folder.read_json(path.name) for path in paths}


# ---- for `dlfound compare`


def read_trials(sweep: Path) -> list[Compared]:
    """Read the trials of a sweep from its folder; only the best one gets its test metrics.

    Raises:
        Error: a file is damaged (code 4).
    """
    entries = read_trial_files(sweep)
    runs = {path: list_runs(path) for path in entries}
    summaries = {path: [read_summary(run) for run in runs[path]] for path in entries}
    monitor = next((s.monitor for found in summaries.values() for s in found), "loss")
    trials = {
        path: _compared(path, entry, runs[path], summaries[path], monitor) for path, entry in entries.items()
    }
    done = [path for path, trial in trials.items() if trial.summary.status == DONE]
    if done:
        best = min(done, key=lambda path: _sort_key(entries[path]))
        test, _ = mean_and_spread([s.metrics.get("test", {}) for s in summaries[best]])
        metrics = {**trials[best].summary.metrics, "test": test}
        trials[best] = replace(trials[best], summary=replace(trials[best].summary, metrics=metrics))
    return list(trials.values())


def _sort_key(entry: Mapping[str, Any]) -> tuple[bool, float]:
    value = finite(entry["result"].get("value"))
    return value is None, value or 0.0


def _compared(
    path: Path, entry: Mapping[str, Any], runs: Sequence[Path], summaries: Sequence[Summary], monitor: str
) -> Compared:
    values = entry.get("values")
    result = entry.get("result")
    if not isinstance(values, dict) or not isinstance(result, dict | None):
        raise Error(f"{path}.json is not the file of a trial", "rerun the sweep's command", Code.RUN)
    settings = {printable(key): _parsed(text) for key, text in values.items()}
    if runs:
        settings = read_settings(runs[0])
    if result is None:
        running = any(s.status == RUNNING for s in summaries)
        summary = Summary(RUNNING if running else INTERRUPTED, monitor)
        return Compared(path, summary, settings, bool(runs))
    spread = {f"{name}_std": value for name, value in read_metrics(result.get("spread")).items()}
    summary = Summary(
        printable(result.get("state")),
        monitor,
        {"val": read_metrics(result.get("metrics")) | spread},
        summaries[0].best_epoch if len(summaries) == 1 else None,
        finite(result.get("epochs")),
        finite(result.get("seconds")),
    )
    return Compared(path, summary, settings, bool(runs), printable(result.get("reason")))


def _parsed(text: Any) -> Any:
    """Turn the text of an override into the value that `config.yaml` would hold."""
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return str(text)
