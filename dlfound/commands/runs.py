"""`dlfound runs`: list the runs below outputs/."""

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dlfound.commands.text_table import print_table
from dlfound.errors import Code, Error, printable
from dlfound.runs.find import Summary, find_runs, list_runs, read_summary, run_name, start_time
from dlfound.runs.folder import OUTPUTS
from dlfound.terminal import age_text, number_text, say

SUMMARY = "list runs, the newest last"
EXAMPLES = """\
examples:
  dlfound runs                 all runs below outputs/
  dlfound runs digits moons    the runs of these names
  dlfound runs --json          for programs: age in seconds, size in bytes
"""
MANY = 2000  # from this number of runs on, several processes read them
PROCESSES = 4
METRICS = ("accuracy", "rmse")  # the test metrics in the list


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    help_text = f"list the runs of this name, or below this folder (default: all runs below {OUTPUTS}/)"
    parser.add_argument("names", nargs="*", metavar="NAME", help=help_text)
    parser.add_argument("--json", action="store_true", help="print only JSON")


def command(args: argparse.Namespace) -> int:
    """Run the verb; return the exit code."""
    paths = find_runs(args.names) if args.names else list_runs()
    rows = _read_rows(paths)
    if args.json:
        print(json.dumps([{name: row.get(name) for name in _columns(rows)} for row in rows], indent=2))
    elif rows:
        _print_rows(rows)
    if not rows:
        say(f"there are no runs below {OUTPUTS}/ yet; train one with: dlfound train")
    return Code.DONE


def _read_rows(paths: Sequence[Path]) -> list[dict[str, Any]]:
    if len(paths) < MANY:
        return [_read_row(path) for path in paths]
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
        return pool.map(_read_row, paths)


def _read_row(path: Path) -> dict[str, Any]:
    try:
        summary = read_summary(path)
    except Error:  # `dlfound compare` prints the reason
        summary = Summary("damaged", "loss")
    val = summary.metrics.get("val", {})
    test = summary.metrics.get("test", {})
    return {
        "name": run_name(path),
        "folder": str(path),
        "status": summary.status,
        **{f"val_{name}": val[name] for name in val if name == summary.monitor},
        **{f"test_{name}": test[name] for name in METRICS if name in test},
        "epochs": summary.epochs,
        "age": max(0, round(time.time() - start_time(path))),  # the clock may have been set back
        "size": _size(path),
    }


def _columns(rows: Sequence[dict[str, Any]]) -> list[str]:
    measured = dict.fromkeys(name for row in rows for name in row if name.startswith(("val_", "test_")))
    return ["name", "folder", "status", *sorted(measured, reverse=True), "epochs", "age", "size"]


def _size(folder: Path | str) -> int:
    """Add up the bytes of all files in a folder; a link counts as itself."""
    size = 0
    try:
        entries = list(os.scandir(folder))
    except OSError:  # removed in the meantime, or not readable
        return 0
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            size += _size(entry.path)
        else:
            with suppress(OSError):
                size += entry.stat(follow_symlinks=False).st_size
    return size


def _print_rows(rows: Sequence[dict[str, Any]]) -> None:
    columns = _columns(rows)
    last = ("age", "size", "epochs")
    ranked = [*(name for name in columns if name not in last), *last]
    texts = [{name: _text(name, row.get(name)) for name in columns} for row in rows]
    print_table(texts, columns, ranked, "--json prints all of them")


def _text(name: str, value: Any) -> str:
    if name == "folder":
        return printable(Path(value).name)
    if value is None or isinstance(value, str):
        return printable(value or "-")
    formats = {"age": age_text, "size": size_text, "epochs": str}
    return formats.get(name, number_text)(value)


def size_text(size: float) -> str:
    """Return a number of bytes with three digits and a unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
