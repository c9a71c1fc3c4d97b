"""`dlfound predict`: predict the rows of a table, images or arrays with a run's net."""

import argparse
import csv
import glob
import io
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from dlfound.commands.options import own_options, reading_options
from dlfound.data.suffixes import OTHERS, PARQUET, RUNNING, is_table
from dlfound.errors import Code, Error, printable
from dlfound.options.configure import load_options, read_words
from dlfound.runs.durable import replacing
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
UNWRITTEN = (*OTHERS, *RUNNING, ".gz")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet may take a cell that begins so for a formula
Pieces = Iterable[Sequence[Sequence[Any]]]
"""The columns of some rows at a time."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument("run", metavar="RUN", help="a run's folder, a name (its newest run), or latest")
    help_text = "a table (.csv, .parquet, 'parts/*.csv'), an image, a folder of images, .npy, .npz"
    parser.add_argument("file", metavar="FILE", help=help_text)
    reading_options(parser)
    help_text = "write to this file instead of standard output: Parquet if it ends in .parquet, else CSV"
    parser.add_argument("--out", metavar="FILE", help=help_text)
    parser.add_argument("--probabilities", action="store_true", help="add the probability of every class")
    help_text = "comma-separated input columns to copy into the output"
    parser.add_argument("--keep", metavar="COLUMNS", help=help_text)
    help_text = (
        "for categories that the training data lack: count them and continue (default), or stop (error)"
    )
    parser.add_argument("--unseen", choices=("count", "error"), default="count", help=help_text)
    help_text = "put an apostrophe before text that a spreadsheet would take for a formula"
    parser.add_argument("--excel-safe", action="store_true", help=help_text)
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
    with _destination(out) as stream:
        rows = reader(path, run.schema, run.config["data"] | reading, **table)
        predictions = predict_rows(run, rows, every=args.probabilities, invert=args.invert)
        if isinstance(stream, io.TextIOBase):
            _write_csv(stream, predictions.head, predictions.pieces(), predictions.texts, args.excel_safe)
        else:
            _write_parquet(stream, predictions.head, predictions.pieces())
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
    if out and os.path.exists(out) and any(out.samefile(file) for file in glob.glob(str(path)) or [path]):
        raise Error(f"--out {out} is the file that is read", "name another one", Code.CONFIG)
    if (table or args.reading) and not is_table(path):
        flags = ", ".join([*(f"--{flag}" for flag in table), *args.reading])
        raise Error(f"{flags} applies to tables, but {path} is not a table", "leave it out", Code.CONFIG)


# The output.


@contextmanager
def _destination(out: Path | None) -> Iterator[TextIO | BinaryIO]:
    """Yield standard output, or a file that appears only when it is complete; a Parquet file takes bytes.

    Raises:
        Error: the file cannot be written (code 6), or its name is that of another kind of file (code 2).
    """
    if out is None:
        yield sys.stdout
        return
    if out.suffix.lower() in UNWRITTEN:
        message = f"--out {out}: a table is written as CSV or Parquet"
        raise Error(message, f"use --out {out.stem}.csv", Code.CONFIG)
    options = {"mode": "w", "encoding": "utf-8", "errors": "backslashreplace", "newline": ""}
    if out.suffix.lower() in PARQUET:
        options = {"mode": "wb"}
    try:
        with _place(out) as path, path.open(**options) as stream:
            yield stream
    except OSError as error:
        fix = "free some space, or name another place"
        if isinstance(error, FileNotFoundError):
            fix = f"make the folder {out.parent} first"
        raise Error(f"cannot write {out}: {error.strerror}", fix, Code.RESOURCES) from None


def _place(out: Path) -> AbstractContextManager[Path]:
    """Return the place to write to: a device or a pipe itself, else a temporary file that replaces `out`."""
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(os.stat(out).st_mode):
            return nullcontext(out)
    return replacing(Path(os.path.realpath(out)))


def _write_csv(
    stream: TextIO, head: Sequence[str], pieces: Pieces, texts: Iterable[str], excel_safe: bool
) -> None:
    """Write the rows piece by piece; quote all text if a spreadsheet could take some of it for a formula.

    Args:
        head: the names of the columns.
        texts: every text that the table may contain.
        excel_safe: put an apostrophe before text that a spreadsheet could take for a formula.
    """
    shown = printable if stream.isatty() else str  # a name from a file must not control the terminal

    def cell(value: Any) -> Any:
        if not isinstance(value, str):
            return "" if value is None else value
        return shown(f"'{value}" if excel_safe and value.startswith(FORMULA) else value)

    has_formulas = any(text.startswith(FORMULA) for text in (*texts, *head))
    quoting = csv.QUOTE_NONNUMERIC if has_formulas else csv.QUOTE_MINIMAL
    writer = csv.writer(stream, quoting=quoting, lineterminator="\n")
    writer.writerow(map(cell, head))
    for columns in pieces:
        writer.writerows(zip(*(map(cell, column) for column in columns), strict=True))


def _write_parquet(stream: BinaryIO, head: Sequence[str], pieces: Pieces) -> None:
    import polars as pl

    frames = [pl.DataFrame(dict(zip(head, columns, strict=True))) for columns in pieces]
    pl.concat(frames).write_parquet(stream)
