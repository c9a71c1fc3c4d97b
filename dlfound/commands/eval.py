"""`dlfound eval`: the metrics of a run again, from its folder alone."""

import argparse
import json

from dlfound.commands.configure import load_options, own_options
from dlfound.commands.table import result_table
from dlfound.errors import Code, Error

SUMMARY = "measure a finished run again, from its folder alone"
EXAMPLES = """\
examples:
  dlfound eval latest                       the run begun last
  dlfound eval outputs/digits/2026-11-21_14-00-00-1f3a
  dlfound eval digits --json                the newest run of that name
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("run", metavar="RUN", help="a run's folder, its name, or latest")
    own_options(parser, config_dirs=False)
    parser.add_argument("--json", action="store_true", help="print the metrics as JSON and nothing else")


def command(args: argparse.Namespace) -> int:
    """The verb: exit code."""
    load_options(args.files)
    from dlfound.commands.opened import open_run  # brings in torch

    run = open_run(args.run)
    measured = evaluate_run(run)
    print(json.dumps(measured, indent=2) if args.json else f"{result_table(measured)}\n{run.path}")
    return Code.DONE


def evaluate_run(run) -> dict[str, dict[str, float | None]]:
    """train, val and test -> loss and metrics of the saved net.

    Raises:
        Error: the data came from a program, or are not those that the run was trained on (code 3).
    """
    from dlfound.commands.training import load_data
    from dlfound.training.device import threads
    from dlfound.training.metrics import evaluate
    from dlfound.training.resident import make_resident

    if run.config.name("data") == "arrays":
        what = f"{run.path}: the data of this run were arrays of a Python program"
        raise Error(what, "use dlfound.open_run(...).predict there", Code.DATA)
    dataset = load_data(run.config)
    if dataset.fingerprint() != run.schema["fingerprint"]:
        raise Error(f"the data are not those that {run.path} was trained on", "give it the same files", Code.DATA)
    with threads(run.report["threads"]):
        parts = make_resident(dataset, run.model, run.loss, next(run.model.parameters()).device)
        return {name: evaluate(run.model, run.loss, part) for name, part in parts.items()}
