"""`dlfound predict`: predict the rows of a table, images or arrays with a run's net."""

import argparse
import glob
import os
from pathlib import Path
from typing import Any

from dlfound.commands.options import own_options, reading_options
from dlfound.commands.prediction_table import destination, write
from dlfound.errors import Code, Error, printable
from dlfound.options.configure import load_options, read_words
from dlfound.terminal import say

SUMMARY = "predict the class or the number of new rows, images or arrays"
EXAMPLES = """\
examples:
  dlfound predict latest new.csv --out predictions.csv  match columns by name; .parquet works too
  dlfound predict latest new.csv --keep id,name         copy these columns of the file into the output
  dlfound predict latest my_digit.png                   file, class, probability
  dlfound predict digits scans/ --out predictions.csv   all images in a folder and its subfolders
  dlfound predict latest rows.npy --probabilities       one more column for every class

An array is a .npy, or a .npz with a single array or one called X: (rows, columns), or images
(rows, height, width) or (rows, channels, height, width), in the range of the run's own data.
dlfound converts an image file to grey or colour and resizes it like the run's own images;
it scales 0 to 255 to the range of the run's data (digits: 0 to 16).
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument("run", metavar="RUN", help="a run's folder, a name (its newest run), or latest")
    parser.add_argument(
        "file",
        metavar="FILE",
        help="a table (.csv, .parquet, 'parts/*.csv'), an image, a folder of images, .npy, .npz",
    )
    reading_options(parser)
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="write to this file instead of standard output: Parquet if it ends in .parquet, else CSV",
    )
    parser.add_argument("--probabilities", action="store_true", help="add the probability of every class")
    parser.add_argument(
        "--keep", metavar="COLUMNS", help="comma-separated input columns to copy into the output"
    )
    parser.add_argument(
        "--unseen",
        choices=("count", "error"),
        default="count",
        help="for categories that the training data lack: count them and continue (default), or stop (error)",
    )
    parser.add_argument(
        "--excel-safe",
        action="store_true",
        help="put an apostrophe before text that a spreadsheet would take for a formula",
    )
    parser.add_argument("--invert", action="store_true", help="invert the images before the prediction")
    own_options(parser, config_dirs=False)


def command(args: argparse.Namespace) -> int:
    """Run the verb; return the exit code."""
    from dlfound.data.files import find_reader

    path = Path(os.path.expanduser(args.file))
    out = None if args.out is None else Path(os.path.expanduser(args.out))
    reader = find_reader(path)
    table = _table_settings(args)
    reading = read_words(args.reading)
    _check_flags(args, path, out, table)
    load_options(args.files)
    from dlfound.runs.predict import predict_rows  # imports torch
    from dlfound.runs.run import open_run

    run = open_run(args.run)
    if args.probabilities:
        run.check_probabilities()
    if args.invert and not run.schema["image"]:
        raise Error("--invert is for images, but the run takes none", "leave it out", Code.CONFIG)
    with destination(out) as stream:
        rows = reader(path, run.schema, run.config["data"] | reading, **table)
        predictions = predict_rows(run, rows, every=args.probabilities, invert=args.invert)
        write(stream, predictions.head, predictions.texts, predictions.pieces(), excel_safe=args.excel_safe)
    if out:
        say(f"{len(rows.names)} predictions in {printable(out)}")
    return Code.DONE


def _table_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that only the reader of a table takes."""
    settings: dict[str, Any] = {}
    if args.keep is not None:
        settings["keep"] = [name.strip() for name in args.keep.split(",") if name.strip()]
    if args.unseen == "error":
        settings["unseen"] = "error"
    return settings


def _check_flags(args: argparse.Namespace, path: Path, out: Path | None, table: dict[str, Any]) -> None:
    """Refuse an output file that is an input file, and flags for a table if the input is not one (code 2)."""
    from dlfound.data.suffixes import is_table

    if out and os.path.exists(out) and any(out.samefile(file) for file in glob.glob(str(path)) or [path]):
        raise Error(f"--out {out} is the file that is read", "name another one", Code.CONFIG)
    if (table or args.reading) and not is_table(path):
        flags = ", ".join([*(f"--{flag}" for flag in table), *args.reading])
        raise Error(f"{flags} applies to tables, but {path} is not a table", "leave it out", Code.CONFIG)
