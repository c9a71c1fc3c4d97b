"""`dlfound predict`: what a run's net says of images and arrays, as CSV."""

import argparse
import csv
import os
import secrets
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from dlfound.commands.configure import load_options, own_options
from dlfound.commands.progress import say
from dlfound.errors import Code, Error, printable

SUMMARY = "predict the class or the number of images and arrays"
EXAMPLES = """\
examples:
  dlfound predict latest my_digit.png                   file, class, probability
  dlfound predict digits scans/ --out predictions.csv   all images in a folder and below it
  dlfound predict latest rows.npy --probabilities       one more column for every class

An array is a .npy, or a .npz with a single array or one called X: (rows, columns), or images (rows, height, width)
or (rows, channels, height, width), in the range of the run's own data. An image file becomes grey or colour and is
resized as the run's own images are; its 0 to 255 is brought to the range of the run's data (digits: 0 to 16).
"""
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet takes a cell that begins so for more than text


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the verb takes."""
    parser.add_argument("run", metavar="RUN", help="a run's folder, its name, or latest")
    parser.add_argument("file", metavar="FILE", help="an image, a folder of images, .npy or .npz")
    parser.add_argument("--out", metavar="CSV", help="write to this file, in place of what it held")
    parser.add_argument("--probabilities", action="store_true", help="add the probability of every class")
    parser.add_argument("--invert", action="store_true", help="exchange dark and light first")
    own_options(parser, config_dirs=False)


def command(args: argparse.Namespace) -> int:
    """The verb: exit code."""
    from dlfound.data.files import find_reader, white_of

    path = Path(os.path.expanduser(args.file))
    out = None if args.out is None else Path(os.path.expanduser(args.out))
    reader = find_reader(path)
    if out and os.path.exists(out) and out.samefile(path):
        raise Error(f"--out {out} is the file that is read", "name another one", Code.CONFIG)
    load_options(args.files)
    from dlfound.commands.opened import open_run  # brings in torch
    from dlfound.commands.predictions import predict_rows

    run = open_run(args.run)
    if args.probabilities:
        run.check_probabilities()
    if args.invert and not run.schema["image"]:
        raise Error("--invert is for images, and the run takes none", "leave it out", Code.CONFIG)
    with _destination(out) as stream:
        rows = reader(path, run.schema, white_of(run.config.name("data")))
        predictions = predict_rows(run, rows, every=args.probabilities, invert=args.invert)
        _write(stream, predictions.head, predictions.texts, predictions.pieces())
    if out:
        say(f"{len(rows.names)} predictions in {printable(out)}")
    return Code.DONE


def _write(stream: TextIO, head: list[str], texts: list[str], pieces: Iterable[list[Sequence[Any]]]) -> None:
    """A table as CSV, piece by piece; all words are quoted where a spreadsheet could take one for a formula."""
    shown = printable if stream.isatty() else str  # a name from a file must not write to the terminal
    formulas = any(text.startswith(FORMULA) for text in texts)
    writer = csv.writer(stream, quoting=csv.QUOTE_NONNUMERIC if formulas else csv.QUOTE_MINIMAL, lineterminator="\n")
    writer.writerow(map(shown, head))
    for columns in pieces:
        cells = [list(map(shown, c)) if isinstance(c[0], str) else c for c in columns]
        writer.writerows(zip(*cells, strict=True))


@contextmanager
def _destination(out: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that stands there whole or not at all.

    Raises:
        Error: it cannot be written (code 6).
    """
    if out is None:
        yield sys.stdout
        return
    whole = os.path.isfile(out) or not os.path.exists(out)  # else a device or a pipe, which is not to be replaced
    place = Path(os.path.realpath(out))
    aside = place.with_name(f".{place.name}.{secrets.token_hex(4)}") if whole else out
    try:
        with aside.open("x" if whole else "w", encoding="utf-8", errors="backslashreplace", newline="") as stream:
            yield stream
        if whole:
            aside.replace(place)
    except OSError as error:
        what = f"cannot write {out}: {error.strerror}"
        raise Error(what, "make room, or name another place", Code.RESOURCES) from None
    finally:
        if whole and os.path.exists(aside):
            aside.unlink()
