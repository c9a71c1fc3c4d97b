"""What a sweep's files say of its trials, which are a run or several each; read as a stranger's, as runs are."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dlfound.errors import Code, Error, printable
from dlfound.runs.comparison import Compared
from dlfound.runs.find import (
    Metrics,
    Summary,
    finite,
    list_runs,
    read_metrics,
    read_settings,
    read_summary,
)
from dlfound.runs.folder import SWEEP, TRIALS, RunFolder


def is_sweep(path: Path) -> bool:
    """True for the folder of a sweep."""
    return (path / SWEEP).is_file()


def sweep_of(run: Path) -> Path | None:
    """The sweep whose trial, or a part of it, a run is."""
    return next((p.parent for p in list(run.parents)[:2] if p.name == TRIALS and is_sweep(p.parent)), None)


def read_trials(sweep: Path) -> list[Compared]:
    """The trials of a sweep as far as its folder knows them; test metrics are told of the best alone.

    Raises:
        Error: the folder's files are damaged (code 4).
    """
    folder = RunFolder(sweep / TRIALS)
    kept = {
        sweep / TRIALS / path.stem: folder.read_json(path.name) for path in sorted(folder.path.glob("*.json"))
    }
    runs = {path: list_runs(path) for path in kept}
    summaries = {path: [read_summary(run) for run in found] for path, found in runs.items()}
    monitor = next((s.monitor for found in summaries.values() for s in found), "loss")
    trials = {path: _trial(path, kept[path], runs[path], summaries[path], monitor) for path in kept}
    best = min(
        (path for path in trials if trials[path].summary.status == "done"), default=None, key=_value_in(kept)
    )
    if best is not None:
        test = _means([s.metrics.get("test", {}) for s in summaries[best]])
        summary = trials[best].summary
        trials[best] = replace(
            trials[best], summary=replace(summary, metrics={**summary.metrics, "test": test})
        )
    return list(trials.values())


def _value_in(kept: Mapping[Path, dict[str, Any]]) -> Any:
    def value(path: Path) -> tuple[bool, float]:
        found = finite(kept[path]["result"].get("value"))
        return found is None, found or 0.0

    return value


def _trial(
    path: Path, kept: Mapping[str, Any], runs: Sequence[Path], summaries: Sequence[Summary], monitor: str
) -> Compared:
    values, result = kept.get("values"), kept.get("result")
    if not isinstance(values, dict) or not isinstance(result, dict | None):
        raise Error(f"{path}.json is no trial's", "let the same command go on with the sweep", Code.RUN)
    settings = (
        read_settings(runs[0]) if runs else {printable(key): _plain(text) for key, text in values.items()}
    )
    if result is None:
        running = any(s.status == "running" for s in summaries)
        return Compared(path, Summary("running" if running else "interrupted", monitor), settings, bool(runs))
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


def _plain(text: Any) -> Any:
    """A value as an override gives it, as `config.yaml` would hold it."""
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return str(text)


def _means(found: Sequence[Metrics]) -> Metrics:
    """The mean of each metric over runs; none where one run has none."""
    means: Metrics = {}
    for name in found[0] if found else ():
        values = [v for metrics in found if (v := metrics.get(name)) is not None]
        means[name] = sum(values) / len(values) if len(values) == len(found) else None
    return means
