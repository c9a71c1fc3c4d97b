"""`dlfound runs`: what is there below outputs/."""

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dlfound.commands.text_table import metric_text, print_table
from dlfound.errors import Code, Error, printable
from dlfound.runs.find import begun, find_runs, list_runs, run_name
from dlfound.runs.folder import OUTPUTS
from dlfound.runs.summary import Summary, read_summary
from dlfound.terminal import age_text, say

SUMMARY = "list the runs that are there, the newest last"
EXAMPLES = """\
examples:
  dlfound runs                 all runs below outputs/
  dlfound runs digits moons    those of these names
  dlfound runs --json          the same for programs: age in seconds, size in bytes
"""
MANY, PROCESSES = 2000, 4  # from so many runs on, so many processes read them
MAIN = ("accuracy", "rmse")  # of the test set: what stands in a listing


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="runs of this name, or below this folder")
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")


def command(args: argparse.Namespace) -> int:
    """The verb: exit code."""
    paths = find_runs(args.names) if args.names else list_runs()
    rows = _rows(paths)
    if args.json:
        print(json.dumps([{name: row.get(name) for name in _columns(rows)} for row in rows], indent=2))
    elif rows:
        _show(rows)
    if not rows:
        say(f"there are no runs below {OUTPUTS}/ yet; begin with: dlfound train")
    return Code.DONE


def _rows(paths: Sequence[Path]) -> list[dict[str, Any]]:
    if len(paths) < MANY:
        return [_row(path) for path in paths]
    with multiprocessing.get_context("fork").Pool(PROCESSES) as pool:
        return pool.map(_row, paths)


def _row(path: Path) -> dict[str, Any]:
    try:
        found = read_summary(path)
    except Error:  # what is wrong with it, `compare` tells
        found = Summary("damaged", "loss")
    val, test = found.metrics.get("val", {}), found.metrics.get("test", {})
    return {
        "name": run_name(path),
        "folder": str(path),
        "status": found.status,
        **{f"val_{name}": val[name] for name in val if name == found.monitor},
        **{f"test_{name}": test[name] for name in MAIN if name in test},
        "epochs": found.epochs,
        "age": max(0, round(time.time() - begun(path))),  # a clock may have been put back
        "size": _size(path),
    }


def _columns(rows: Sequence[dict[str, Any]]) -> list[str]:
    measured = dict.fromkeys(name for row in rows for name in row if name.startswith(("val_", "test_")))
    return ["name", "folder", "status", *sorted(measured, reverse=True), "epochs", "age", "size"]


def _size(folder: Path | str) -> int:
    """Bytes of all files in a folder; links count as themselves."""
    found = 0
    try:
        entries = list(os.scandir(folder))
    except OSError:  # removed meanwhile, or not ours to see
        return 0
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            found += _size(entry.path)
        else:
            with suppress(OSError):
                found += entry.stat(follow_symlinks=False).st_size
    return found


def _show(rows: Sequence[dict[str, Any]]) -> None:
    columns = _columns(rows)
    dear = [*(name for name in columns if name not in ("age", "size", "epochs")), "age", "size", "epochs"]
    print_table(
        [{name: _text(row, name) for name in columns} for row in rows], columns, dear, "--json has all"
    )


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if name == "age":
        return age_text(value)
    if name == "size":
        return size_text(value)
    if name == "folder":
        return printable(Path(value).name)
    if value is None or isinstance(value, str):
        return printable(value or "-")
    return str(value) if name == "epochs" else metric_text(value)


def size_text(size: float) -> str:
    """Bytes, to three digits, in a unit that a person reads."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
