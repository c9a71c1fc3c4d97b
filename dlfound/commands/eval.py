"""`dlfound eval`: the metrics of a run again, from its folder alone; or on the rows of another table."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlfound.commands.options import own_options, reading_options
from dlfound.commands.result_table import result_table
from dlfound.errors import Code, Error
from dlfound.options.configure import load_options, read_words
from dlfound.terminal import say

SUMMARY = "measure a finished run again, on its own data or on new rows"
EXAMPLES = """\
examples:
  dlfound eval latest                       the run begun last
  dlfound eval outputs/digits/2026-11-21_14-00-00-1f3a
  dlfound eval digits --json                the newest run of that name
  dlfound eval latest --data new.csv        on the rows of another table, which has the target too
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("run", metavar="RUN", help="a run's folder, its name, or latest")
    parser.add_argument(
        "--data", metavar="FILE", help="a table with the target (.csv, .parquet), in place of the run's own"
    )
    reading_options(parser)
    own_options(parser, config_dirs=False)
    parser.add_argument("--json", action="store_true", help="print the metrics as JSON and nothing else")


def command(args: argparse.Namespace) -> int:
    """The verb: exit code."""
    load_options(args.files)
    reading = read_words(args.reading)
    if reading and args.data is None:
        raise Error(f"{args.reading[0]}: only with --data FILE", "leave it out", Code.CONFIG)
    from dlfound.runs.run import open_run  # brings in torch

    run = open_run(args.run)
    measured = evaluate_run(run) if args.data is None else evaluate_file(run, args.data, reading)
    print(json.dumps(measured, indent=2) if args.json else f"{result_table(measured)}\n{run.path}")
    return Code.DONE


def evaluate_run(run) -> dict[str, dict[str, float | None]]:
    """train, val and test -> loss and metrics of the saved net.

    Raises:
        Error: the data came from a program, or are not those that the run was trained on (code 3).
    """
    from dlfound.runs.train import load_data

    if run.config.name("data") == "arrays" and run.config["data"]["path"] is None:
        what = f"{run.path}: the data of this run were arrays of a Python program"
        raise Error(what, "use dlfound.open_run(...).predict there", Code.DATA)
    dataset = load_data(run.config)
    if dataset.fingerprint() != run.schema["fingerprint"]:
        fix = "give it the same files" + ", or measure on others with --data FILE" * bool(
            run.schema["columns"]
        )
        raise Error(f"the data are not those that {run.path} was trained on", fix, Code.DATA)
    return _measured(run, dataset)


def evaluate_file(run, file: str, reading: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """data -> loss and metrics of the saved net on the rows of a table.

    Raises:
        Error: the run was not trained on a table, or the file does not fit it (code 3).
    """
    from dlfound.data.frames import read_labelled

    if not run.schema["columns"]:
        what = f"{run.path} was not trained on a table"
        raise Error(what, "leave --data out: eval measures the run on its own data", Code.DATA)
    dataset = read_labelled(Path(file).expanduser(), run.schema, run.config["data"] | reading)
    for note in dataset.notes:
        say(note)
    return _measured(run, dataset)


def _measured(run, dataset) -> dict[str, dict[str, float | None]]:
    from dlfound.training.assemble import weigh
    from dlfound.training.device import make_resident, threads
    from dlfound.training.metrics import evaluate

    loss = weigh(run.config, run.loss, dataset)
    with threads(run.report["threads"]):
        parts = make_resident(dataset, run.model, loss, next(run.model.parameters()).device)
        return {name: evaluate(run.model, loss, part) for name, part in parts.items()}
