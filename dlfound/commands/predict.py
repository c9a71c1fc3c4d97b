"""`dlfound predict`: what a run's net says of the rows of a table, of images and of arrays."""

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
  dlfound predict latest new.csv --out predictions.csv  columns are matched by name; or --out predictions.parquet
  dlfound predict latest new.csv --keep id,name         with these columns of the file beside them
  dlfound predict latest my_digit.png                   file, class, probability
  dlfound predict digits scans/ --out predictions.csv   all images in a folder and below it
  dlfound predict latest rows.npy --probabilities       one more column for every class

An array is a .npy, or a .npz with a single array or one called X: (rows, columns), or images (rows, height, width)
or (rows, channels, height, width), in the range of the run's own data. An image file becomes grey or colour and is
resized as the run's own images are; its 0 to 255 is brought to the range of the run's data (digits: 0 to 16).
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("run", metavar="RUN", help="a run's folder, its name, or latest")
    parser.add_argument(
        "file",
        metavar="FILE",
        help="a table (.csv, .parquet, 'parts/*.csv'), an image, a folder of images, .npy, .npz",
    )
    reading_options(parser)
    parser.add_argument(
        "--out", metavar="FILE", help="write this file, CSV or .parquet, in place of what it held"
    )
    parser.add_argument("--probabilities", action="store_true", help="add the probability of every class")
    parser.add_argument("--keep", metavar="COLUMNS", help="columns of the table to stand beside, by commas")
    parser.add_argument(
        "--unseen", choices=("count", "error"), default="count", help="categories that training did not have"
    )
    parser.add_argument(
        "--excel-safe",
        action="store_true",
        help="an apostrophe before words that a spreadsheet takes for formulas",
    )
    parser.add_argument("--invert", action="store_true", help="exchange dark and light first")
    own_options(parser, config_dirs=False)


def command(args: argparse.Namespace) -> int:
    """The verb: exit code."""
    from dlfound.data.files import find_reader
    from dlfound.data.suffixes import is_table

    path = Path(os.path.expanduser(args.file))
    out = None if args.out is None else Path(os.path.expanduser(args.out))
    reader, table, reading = find_reader(path), _table_settings(args), read_words(args.reading)
    if out and os.path.exists(out) and any(out.samefile(file) for file in glob.glob(str(path)) or [path]):
        raise Error(f"--out {out} is the file that is read", "name another one", Code.CONFIG)
    if (table or reading) and not is_table(path):
        flags = ", ".join([*(f"--{flag}" for flag in table), *args.reading])
        raise Error(f"{flags}: only for a table, and {path} is none", "leave it out", Code.CONFIG)
    load_options(args.files)
    from dlfound.runs.predict import predict_rows
    from dlfound.runs.run import open_run  # brings in torch

    run = open_run(args.run)
    if args.probabilities:
        run.check_probabilities()
    if args.invert and not run.schema["image"]:
        raise Error("--invert is for images, and the run takes none", "leave it out", Code.CONFIG)
    with destination(out) as stream:
        rows = reader(path, run.schema, run.config["data"] | reading, **table)
        predictions = predict_rows(run, rows, every=args.probabilities, invert=args.invert)
        write(stream, predictions.head, predictions.texts, predictions.pieces(), excel_safe=args.excel_safe)
    if out:
        say(f"{len(rows.names)} predictions in {printable(out)}")
    return Code.DONE


def _table_settings(args: argparse.Namespace) -> dict[str, Any]:
    """What was asked for that only tables have."""
    found: dict[str, Any] = {}
    if args.keep is not None:
        found["keep"] = [name.strip() for name in args.keep.split(",") if name.strip()]
    if args.unseen == "error":
        found["unseen"] = "error"
    return found
