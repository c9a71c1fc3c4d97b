"""`dlfound compare`: runs side by side."""

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from dlfound.commands.text_table import print_table
from dlfound.errors import Code, Error
from dlfound.runs.comparison import Compared, Comparison
from dlfound.runs.find import find_runs, read_settings, read_summary
from dlfound.sweeps.folder import is_sweep, read_trials, sweep_of
from dlfound.terminal import number_text, say

SUMMARY = "compare runs: the settings that differ, and the results"
EXAMPLES = """\
examples:
  dlfound compare digits                         all runs of that name, best validation first
  dlfound compare outputs/digits outputs/moons   all runs below these folders
  dlfound compare digits --sort test_accuracy    sort by another metric, best first
  dlfound compare my_sweep                       the trials of a sweep, with the test metrics of the best one
  dlfound compare my_sweep/trials                the runs of a sweep, each as a run of its own
  dlfound compare digits --csv                   all columns, for a spreadsheet
"""
METRICS = ("loss", "accuracy", "rmse", "mae", "r2")  # in the table; --csv and --json have all
BEST = ("test_accuracy", "test_rmse")  # they stay in a narrow terminal


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    help_text = "a run's folder, a folder of runs or of a sweep, a name (all its runs), or latest"
    parser.add_argument("runs", nargs="+", metavar="RUN", help=help_text)
    help_text = "sort by this column: a metric best first, anything else smallest first"
    help_text += " (default: the monitored metric on validation)"
    parser.add_argument("--sort", metavar="COLUMN", help=help_text)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print only CSV, with every column")
    form.add_argument("--json", action="store_true", help="print only JSON, with every column")


def command(args: argparse.Namespace) -> int:
    """Run the verb; return the exit code."""
    comparison = Comparison(read_runs(args.runs))
    comparison.sort(args.sort)
    if args.json:
        print(json.dumps(comparison.objects(), indent=2))
    elif args.csv:
        print_csv(comparison)
    else:
        print_comparison(comparison)
    return Code.DONE


def read_runs(words: Iterable[str]) -> list[Compared]:
    """Read the runs that the words mean, and the trials of the sweeps; report and leave out unreadable ones.

    Raises:
        Error: a word means no run, or no run can be read (code 4).
    """
    compared: list[Compared] = []
    runs, sweeps = find_compared(words)
    for path in (*sweeps, *runs):
        try:
            compared += read_trials(path) if path in sweeps else _read_run(path)
        except Error as error:
            say(f"left out: {error}")
    if not compared:
        raise Error("none of these runs can be read", "name others, or train them again", Code.RUN)
    return compared


def _read_run(path: Path) -> list[Compared]:
    return [Compared(path, read_summary(path), read_settings(path))]


def find_compared(words: Iterable[str]) -> tuple[list[Path], list[Path]]:
    """Find the runs and the sweeps that the words mean; a sweep's folder, or one above it, means its trials.

    Raises:
        Error: a word means no run (code 4).
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


def print_csv(comparison: Comparison) -> None:
    """Print every column as CSV; a cell without a value is empty."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(comparison.columns)
    for row in comparison.rows:
        writer.writerow([comparison.text(row, name, "") for name in comparison.columns])


def print_comparison(comparison: Comparison) -> None:
    """Print the columns that matter to a person as a table."""
    shown = {name + end for name in (*METRICS, *comparison.monitors) for end in ("", "_std")}
    measured = [column for column in comparison.metrics if not column.startswith("train_")]
    metrics = [column for column in measured if comparison.metrics[column] in shown]
    best = [column for column in metrics if column in (f"val_{comparison.monitors[0]}", *BEST)]
    settings = comparison.notable_settings()
    status = ["status"] if any(row["status"] != "done" for row in comparison.rows) else []
    columns = ["run", *status, *settings, *metrics, *comparison.results]
    ranked = dict.fromkeys(["run", *status, *best, *settings, *metrics, "epochs", "seconds", *columns])
    text = comparison.text
    rows = [{name: text(row, name, "-", number_text) for name in columns} for row in comparison.rows]
    print_table(rows, columns, list(ranked), "--csv prints all of them")
