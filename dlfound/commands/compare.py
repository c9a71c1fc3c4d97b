"""`dlfound compare`: runs side by side: where their settings differ, and what came out."""

import argparse
import csv
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from dlfound.commands.text_table import metric_text, print_table, setting_text
from dlfound.config.catalog import Catalog
from dlfound.config.setting_types import MISSING
from dlfound.config.suggest import nearest
from dlfound.errors import Code, Error, printable
from dlfound.options.configure import catalog
from dlfound.runs.find import find_runs
from dlfound.runs.summary import PARTS, rank, read_settings, read_summary
from dlfound.sweeps.folder import Compared, is_sweep, read_trials, sweep_of
from dlfound.terminal import say

SUMMARY = "show runs side by side: the settings that differ, and what came out"
EXAMPLES = """\
examples:
  dlfound compare digits                         all runs of that name
  dlfound compare outputs/digits outputs/moons   all runs below these folders
  dlfound compare digits --sort test_accuracy    best first; by default: by the monitored metric on validation
  dlfound compare my_sweep                       the trials of a sweep; test metrics of the best one alone
  dlfound compare my_sweep/trials                all its runs, as any others
  dlfound compare digits --csv                   all metrics, for a spreadsheet
"""
MAIN = ["loss", "accuracy", "rmse", "mae", "r2"]  # what the table shows; --csv and --json have all
OWN = ["run", "folder", "status"]
RESULTS = ["best_epoch", "epochs", "seconds"]
REASON = "reason"  # why a trial failed: a column where there is one


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="a folder of a run, of runs or of a sweep, a name (all its runs), or latest",
    )
    parser.add_argument(
        "--sort", metavar="COLUMN", help="a metric: best first; anything else: smallest first"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print every column as CSV and nothing else")
    form.add_argument("--json", action="store_true", help="print every column as JSON and nothing else")


def command(args: argparse.Namespace) -> int:
    """The verb: exit code."""
    comparison = Comparison(read_runs(args.runs))
    comparison.sort(args.sort)
    if args.json:
        print(json.dumps(comparison.objects(), indent=2))
    elif args.csv:
        comparison.write_csv()
    else:
        comparison.show()
    return Code.DONE


def read_runs(words: Iterable[str]) -> list[Compared]:
    """The runs that the words mean, of sweeps the trials; those that cannot be read are told and left out.

    Raises:
        Error: a word that means no run, or no run that can be read (code 4).
    """
    found: list[Compared] = []
    runs, sweeps = find_compared(words)
    for path, read in [*((sweep, read_trials) for sweep in sweeps), *((run, _read_run) for run in runs)]:
        try:
            found += read(path)
        except Error as error:
            say(printable(f"left out: {error}"))
    if not found:
        raise Error("none of these runs can be read", "name others, or train them again", Code.RUN)
    return found


def _read_run(path: Path) -> list[Compared]:
    return [Compared(path, read_summary(path), read_settings(path))]


def find_compared(words: Iterable[str]) -> tuple[list[Path], list[Path]]:
    """The runs that the words mean, and the sweeps: a folder above a sweep, or its own, means all its trials.

    Raises:
        Error: a word that means no run (code 4).
    """
    sweeps = {os.path.realpath(word): Path(word) for word in words if word and is_sweep(Path(word))}
    runs = {}
    for word in words:
        for path in find_runs([word]) if os.path.realpath(word) not in sweeps else ():
            sweep = sweep_of(path)
            if sweep is not None and Path(os.path.realpath(sweep)).is_relative_to(os.path.realpath(word)):
                sweeps.setdefault(os.path.realpath(sweep), sweep)
            else:
                runs[os.path.realpath(path)] = path
    return list(runs.values()), list(sweeps.values())


class Comparison:
    """A table of runs: all that is known of each, and which columns are worth showing.

    Attributes:
        rows: column -> value of each run; a setting that the run's option does not have is absent.
        settings: the columns of the settings that differ.
        metrics: the columns of all that was measured -> the metric.
        monitors: what chose the best epochs, the most frequent first.
        results: the columns of what else came out.
    """

    def __init__(self, runs: Sequence[Compared]):
        measured = [
            f"{part}_{name}" for part in PARTS for run in runs for name in run.summary.metrics.get(part, {})
        ]
        self.metrics = {column: column.partition("_")[2] for column in measured}
        taken = {*OWN, *RESULTS, REASON, *self.metrics}  # a stranger's setting may have the name of a column
        settings = [{key: v for key, v in run.settings.items() if key not in taken} for run in runs]
        whole = [s for run, s in zip(runs, settings, strict=True) if run.whole]
        partial = [s for run, s in zip(runs, settings, strict=True) if not run.whole]
        self.settings = differing(whole, partial)
        self.monitors = [name for name, _ in Counter(run.summary.monitor for run in runs).most_common()]
        names = labels([run.path for run in runs])
        self.results = [*RESULTS, *([REASON] if any(run.reason for run in runs) else [])]
        self.rows = [s | _results(run, name) for run, s, name in zip(runs, settings, names, strict=True)]

    @property
    def columns(self) -> list[str]:
        """What --csv and --json print."""
        return [*OWN, *self.settings, *self.metrics, *self.results]

    def sort(self, column: str | None) -> None:
        """By a metric, best first, what is not done last; by anything else, smallest first.

        By default by the monitored metric on validation.

        Raises:
            Error: there is no such column (code 2).
        """
        known = dict.fromkeys(
            [*self.columns, *(name for row in self.rows for name in row)]
        )  # the same in all: no harm
        if column is not None and column not in known:
            fix = f"did you mean --sort {nearest(column, known)}? (--csv names all in its first line)"
            raise Error(f"no column {column!r}", fix, Code.CONFIG)
        by = column or f"val_{self.monitors[0]}"
        metric = self.metrics.get(by)
        self.rows.sort(key=lambda row: _best_first(row, by, metric) if metric else _ascending(row, by))

    def objects(self) -> list[dict[str, Any]]:
        """An object a run: every column, null where there is no value."""
        return [{name: row.get(name) for name in self.columns} for row in self.rows]

    def write_csv(self) -> None:
        """Every column to standard output; a cell without a value is empty."""
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([self._text(row, name, "") for name in self.columns] for row in self.rows)

    def show(self) -> None:
        """The table for a person."""
        settings = [c for c in self.settings if not self._goes_without_saying(c)]
        main = {name + end for name in MAIN + self.monitors for end in ("", "_std")}
        metrics = [c for c, name in self.metrics.items() if not c.startswith("train_") and name in main]
        best = [c for c in metrics if c in (f"val_{self.monitors[0]}", "test_accuracy", "test_rmse")]
        status = ["status"] * any(row["status"] != "done" for row in self.rows)
        columns = ["run", *status, *settings, *metrics, *self.results]
        dear = dict.fromkeys(["run", *status, *best, *settings, *metrics, "epochs", "seconds", *columns])
        rows = [{name: self._text(row, name, "-", metric_text) for name in columns} for row in self.rows]
        print_table(rows, columns, list(dear), "--csv has all")

    def _goes_without_saying(self, key: str) -> bool:
        """True for a setting that only some of the runs' options have, and that nobody has changed there."""
        having = [row for row in self.rows if key in row]
        if any(row[key] != having[0][key] for row in having):
            return False
        group, _, name = key.partition(".")
        return all(self._defaults(group, row.get(group)).get(name, MISSING) == row[key] for row in having)

    def _defaults(self, group: str, word: Any) -> dict[str, Any]:
        """What `conf/` gives to the settings of an option; nothing where it has no such option."""
        known = self._catalog
        if group not in known.groups or not isinstance(word, str) or word not in known.paths[group]:
            return {}
        return {**known.common(group), **known.node(group, word)}

    @cached_property
    def _catalog(self) -> Catalog:
        return catalog()

    def _text(
        self, row: dict[str, Any], name: str, missing: str, number: Callable[[float], str] = str
    ) -> str:
        value = row.get(name)
        if name not in row or (value is None and name not in self.settings):
            return missing
        return number(value) if name in self.metrics else setting_text(value)


def differing(settings: Sequence[dict[str, Any]], partial: Sequence[dict[str, Any]] = ()) -> list[str]:
    """The settings that are not the same in all runs, those of a node together; absent is a value of its own.

    Args:
        partial: those of runs of which not all is known: what they lack says nothing.
    """
    keys = list(dict.fromkeys(key for found in [*settings, *partial] for key in found))
    nodes = list(dict.fromkeys(key.partition(".")[0] for key in keys))
    first = [*settings, *partial][0]
    others = [({key: MISSING for key in keys} | s) for s in settings] + [*partial]
    different = [k for k in keys if any(s[k] != first.get(k, MISSING) for s in others if k in s)]
    return sorted(different, key=lambda key: nodes.index(key.partition(".")[0]))


def labels(paths: Sequence[Path]) -> list[str]:
    """The folders, without what all of them lie below."""
    absolute = [os.path.abspath(path) for path in paths]
    shared = os.path.commonpath([os.path.dirname(path) for path in absolute])
    return [os.path.relpath(path, shared) for path in absolute]


def _results(run: Compared, name: str) -> dict[str, Any]:
    found = run.summary
    measured = {f"{part}_{metric}": value for part, m in found.metrics.items() for metric, value in m.items()}
    results = {"best_epoch": found.best_epoch, "epochs": found.epochs, "seconds": found.seconds}
    reason = {REASON: run.reason} if run.reason else {}
    return {"run": name, "folder": str(run.path), "status": found.status, **measured, **results, **reason}


def _best_first(row: dict[str, Any], column: str, metric: str) -> tuple[bool, float]:
    return row["status"] != "done", rank(metric, row.get(column))


def _ascending(row: dict[str, Any], column: str) -> tuple[int, Any]:
    """A key for values of any kind: numbers, then lists of numbers, then words, then none."""
    value = row.get(column)
    if isinstance(value, int | float):
        return 0, value
    if isinstance(value, list) and all(isinstance(v, int | float) for v in value):
        return 1, value
    return (3, "") if column not in row else (2, setting_text(value))
