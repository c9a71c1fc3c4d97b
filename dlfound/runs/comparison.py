"""Runs side by side: which of their settings differ, and their results."""

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlfound.config.catalog import Catalog
from dlfound.config.suggest import nearest
from dlfound.errors import Code, Error, printable
from dlfound.options.configure import catalog
from dlfound.runs.find import Summary, rank
from dlfound.runs.folder import PARTS

IDENTITY = ("run", "folder", "status")
RESULTS = ("best_epoch", "epochs", "seconds")
REASON = "reason"  # a column only if a trial has failed
ABSENT = object()  # the value of a setting that a run's options lack


@dataclass(frozen=True)
class Compared:
    """A run, or a trial of a sweep.

    Attributes:
        whole: True if `settings` is complete; of a trial without a run only the values that vary are known.
        reason: why the trial diverged, failed or was interrupted.
    """

    path: Path
    summary: Summary
    settings: dict[str, Any]
    whole: bool = True
    reason: str = ""


class Comparison:
    """A table of runs with the settings that differ and the results.

    Attributes:
        rows: column -> value for each run; a setting that the run's options lack is absent.
        settings: the columns of the settings that differ.
        metrics: column -> metric, such as "val_loss" -> "loss".
        monitors: the metrics that selected the best epochs, the most frequent first.
        results: the columns of the other results.
    """

    def __init__(self, runs: Sequence[Compared]):
        measured = list(dict.fromkeys(column for run in runs for column in run.summary.measured))
        measured.sort(key=lambda column: PARTS.index(column.partition("_")[0]))
        self.metrics = {column: column.partition("_")[2] for column in measured}
        self.monitors = [name for name, _ in Counter(run.summary.monitor for run in runs).most_common()]
        self.results = [*RESULTS, REASON] if any(run.reason for run in runs) else [*RESULTS]
        taken = {*IDENTITY, *RESULTS, REASON, *self.metrics}  # a file from elsewhere may have such a setting
        settings = [{key: v for key, v in run.settings.items() if key not in taken} for run in runs]
        whole = [values for run, values in zip(runs, settings, strict=True) if run.whole]
        partial = [values for run, values in zip(runs, settings, strict=True) if not run.whole]
        self.settings = differing(whole, partial)
        rows = zip(runs, settings, labels([run.path for run in runs]), strict=True)
        self.rows = [values | _results(run, name) for run, values, name in rows]

    @property
    def columns(self) -> list[str]:
        """All columns, from left to right."""
        return [*IDENTITY, *self.settings, *self.metrics, *self.results]

    def sort(self, column: str | None) -> None:
        """Sort the runs by a column: a metric best first and unfinished runs last, others smallest first.

        Args:
            column: None for the monitored metric on the validation rows.

        Raises:
            Error: no such column (code 2).
        """
        names = dict.fromkeys([*self.columns, *(name for row in self.rows for name in row)])
        if column is not None and column not in names:
            fix = f"did you mean --sort {nearest(column, names)}? --csv prints all names in its first line"
            raise Error(f"no column {column!r}", fix, Code.CONFIG)
        by = f"val_{self.monitors[0]}" if column is None else column
        metric = self.metrics.get(by)
        self.rows.sort(key=lambda row: _best_first(row, by, metric) if metric else _ascending(row, by))

    def objects(self) -> list[dict[str, Any]]:
        """Return an object per run with every column; None if the run has no value there."""
        return [{name: row.get(name) for name in self.columns} for row in self.rows]

    def text(
        self, row: dict[str, Any], column: str, missing: str, number: Callable[[float], str] = str
    ) -> str:
        """Return a cell as text.

        Args:
            missing: the text if the run has no value there; a setting that is null has one.
            number: turns the value of a metric into text.
        """
        value = row.get(column)
        if column not in row or (value is None and column not in self.settings):
            return missing
        return number(value) if column in self.metrics else setting_text(value)

    def notable_settings(self) -> list[str]:
        """List the settings that differ, except those with which every run leaves its option's default.

        For example, `optim.betas` is not notable if some runs use Adam with its defaults, and the others SGD.
        """
        options = catalog()
        return [key for key in self.settings if not self._is_default(key, options)]

    def _is_default(self, key: str, options: Catalog) -> bool:
        group, _, name = key.partition(".")
        rows = [row for row in self.rows if key in row]
        if any(row[key] != rows[0][key] for row in rows):
            return False
        return all(_defaults(options, group, row.get(group)).get(name, ABSENT) == row[key] for row in rows)


def _defaults(options: Catalog, group: str, option: Any) -> dict[str, Any]:
    """Return the settings of an option as conf/ has them; none for an option that conf/ lacks."""
    words = options.paths[group] if group in options.groups else {}
    if not isinstance(option, str) or option not in words:
        return {}
    return {**options.common(group), **options.node(group, option)}


def differing(settings: Sequence[dict[str, Any]], partial: Sequence[dict[str, Any]] = ()) -> list[str]:
    """List the settings that are not the same in all runs, those of a node together.

    Args:
        settings: of runs whose settings are complete; a setting that one of them lacks differs.
        partial: of trials of which only some settings are known; any other setting may be the same.
    """
    keys = list(dict.fromkeys(key for values in [*settings, *partial] for key in values))
    nodes = list(dict.fromkeys(key.partition(".")[0] for key in keys))
    first = [*settings, *partial][0]
    complete = [dict.fromkeys(keys, ABSENT) | values for values in settings]
    different = [
        key
        for key in keys
        if any(values[key] != first.get(key, ABSENT) for values in [*complete, *partial] if key in values)
    ]
    return sorted(different, key=lambda key: nodes.index(key.partition(".")[0]))


def labels(paths: Sequence[Path]) -> list[str]:
    """Return the folders relative to the deepest folder that contains all of them."""
    absolute = [os.path.abspath(path) for path in paths]
    shared = os.path.commonpath([os.path.dirname(path) for path in absolute])
    return [os.path.relpath(path, shared) for path in absolute]


def setting_text(value: Any) -> str:
    """Return a setting's value as an override would give it."""
    if not isinstance(value, str):
        value = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return printable(value)


def _results(run: Compared, name: str) -> dict[str, Any]:
    summary = run.summary
    results = {"best_epoch": summary.best_epoch, "epochs": summary.epochs, "seconds": summary.seconds}
    reason = {REASON: run.reason} if run.reason else {}
    identity = {"run": name, "folder": str(run.path), "status": summary.status}
    return identity | summary.measured | results | reason


def _best_first(row: dict[str, Any], column: str, metric: str) -> tuple[bool, float]:
    return row["status"] != "done", rank(metric, row.get(column))


def _ascending(row: dict[str, Any], column: str) -> tuple[int, Any]:
    """Return a sort key: first numbers, then lists of numbers, then other values, then no value."""
    value = row.get(column)
    if isinstance(value, int | float):
        return 0, value
    if isinstance(value, list) and all(isinstance(item, int | float) for item in value):
        return 1, value
    return (2, setting_text(value)) if column in row else (3, "")
