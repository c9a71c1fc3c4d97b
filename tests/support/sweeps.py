"""Sweeps of a small net, run in the process of the test: the command, and what it writes and prints."""

import csv
import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

from dlfound.cli import main

RUN = [
    "data=moons", "data.rows=120", "model.hidden=[8]", "train.epochs=4", "early_stopping=none",
    "lr_decay=none", "logger=none", "run.threads=1", "run.dir=sweep",
]  # fmt: skip
LR = "optim.lr=tag(log,interval(1e-3,1e-1))"
SEARCHED = [LR, "optim=adam,sgd", "search.trials=12"]
HUGE = "[65536,65536,65536,65536,65536]"


class Output(NamedTuple):
    """What a command printed."""

    stdout: str
    stderr: str


def sweep(*overrides, code=0, verb=("sweep",)):
    """Run a sweep in this process and check its exit code."""
    out = io.StringIO()
    err = io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        ended = main([*verb, *RUN, *overrides])
    log = Path("sweep/workers.log")
    assert ended == code, out.getvalue() + err.getvalue() + (log.read_text() if log.exists() else "")
    return Output(out.getvalue(), err.getvalue())


def table(path="sweep"):
    with Path(path, "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def states():
    return [row["state"] for row in table()]


def report():
    return json.loads(Path("sweep/report.json").read_text())


def without_times(rows):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def compare(capsys, *words):
    assert main(["compare", *words, "--csv"]) == 0
    return list(csv.DictReader(capsys.readouterr().out.splitlines()))
