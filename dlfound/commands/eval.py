"""`dlfound eval`: measure a finished run again."""

import argparse
import json

from dlfound.commands.options import own_options, reading_options
from dlfound.commands.text_table import result_table
from dlfound.errors import Code, Error, printable
from dlfound.options.configure import load_options, read_words

SUMMARY = "measure a finished run again, on its own data or on new rows"
EXAMPLES = """\
examples:
  dlfound eval latest                       the run that began last
  dlfound eval outputs/digits/2026-11-21_14-00-00-1f3a
  dlfound eval digits --json                the newest run of that name
  dlfound eval latest --data new.csv        the rows of another table, which has the target column too
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument("run", metavar="RUN", help="a run's folder, a name (its newest run), or latest")
    parser.add_argument(
        "--data",
        metavar="FILE",
        help="measure the rows of this table with the target (.csv, .parquet) instead of the run's own data",
    )
    reading_options(parser)
    own_options(parser, config_dirs=False)
    parser.add_argument("--json", action="store_true", help="print only the metrics, as JSON")


def command(args: argparse.Namespace) -> int:
    """Run the verb; return the exit code."""
    load_options(args.files)
    reading = read_words(args.reading)
    if reading and args.data is None:
        raise Error(f"{args.reading[0]} needs --data FILE", "add --data, or leave it out", Code.CONFIG)
    from dlfound.runs.predict import evaluate_file, evaluate_run  # imports torch
    from dlfound.runs.run import open_run

    run = open_run(args.run)
    metrics = evaluate_run(run) if args.data is None else evaluate_file(run, args.data, reading)
    print(json.dumps(metrics, indent=2) if args.json else f"{result_table(metrics)}\n{printable(run.path)}")
    return Code.DONE
