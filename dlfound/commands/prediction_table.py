"""A table of results on its way out: CSV on standard output or in a file, or Parquet."""

import csv
import io
import os
import secrets
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from dlfound.data.suffixes import OTHERS, PARQUET, RUNNING
from dlfound.errors import Code, Error, printable

UNWRITTEN = (*OTHERS, *RUNNING, ".gz")
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet takes a cell that begins so for more than text
Pieces = Iterable[Sequence[Sequence[Any]]]


def write(
    stream: TextIO | BinaryIO, head: Sequence[str], texts: Iterable[str], pieces: Pieces, *, excel_safe: bool
) -> None:
    """The table, as Parquet where the stream takes bytes, else as CSV.

    Args:
        head: the columns' names; texts: all words that may stand in the table.
        pieces: the columns of some rows at a time.
        excel_safe: put an apostrophe before words that a spreadsheet could take for a formula.
    """
    if isinstance(stream, io.TextIOBase):
        _write_csv(stream, head, texts, pieces, excel_safe)
    else:
        _write_parquet(stream, head, pieces)


def _write_csv(
    stream: TextIO, head: Sequence[str], texts: Iterable[str], pieces: Pieces, excel_safe: bool
) -> None:
    """Piece by piece; all words are quoted where a spreadsheet could take one for a formula."""
    shown = printable if stream.isatty() else str  # a name from a file must not write to the terminal
    formulas = any(text.startswith(FORMULA) for text in (*texts, *head))

    def cell(value: Any) -> Any:
        if not isinstance(value, str):
            return "" if value is None else value
        return shown(f"'{value}" if excel_safe and value.startswith(FORMULA) else value)

    writer = csv.writer(
        stream, quoting=csv.QUOTE_NONNUMERIC if formulas else csv.QUOTE_MINIMAL, lineterminator="\n"
    )
    writer.writerow(map(cell, head))
    for columns in pieces:
        writer.writerows(zip(*(map(cell, column) for column in columns), strict=True))


def _write_parquet(stream: BinaryIO, head: Sequence[str], pieces: Pieces) -> None:
    import polars as pl

    frames = [pl.DataFrame(dict(zip(head, columns, strict=True))) for columns in pieces]
    pl.concat(frames).write_parquet(stream)


@contextmanager
def destination(out: Path | None) -> Iterator[TextIO | BinaryIO]:
    """Standard output, or a file that stands there whole or not at all; one of bytes for Parquet.

    Raises:
        Error: it cannot be written (code 6); its name is that of another kind of file (code 2).
    """
    if out is None:
        yield sys.stdout
        return
    if out.suffix.lower() in UNWRITTEN:
        raise Error(
            f"--out {out}: a table is written as CSV or Parquet", f"--out {out.stem}.csv", Code.CONFIG
        )
    whole = os.path.isfile(out) or not os.path.exists(
        out
    )  # else a device or a pipe, which is not to be replaced
    place = Path(os.path.realpath(out))
    aside = place.with_name(f".{place.name}.{secrets.token_hex(4)}") if whole else out
    mode, text = "x" if whole else "w", {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}
    try:
        with aside.open(f"{mode}b") if out.suffix.lower() in PARQUET else aside.open(mode, **text) as stream:
            yield stream
        if whole:
            aside.replace(place)
    except OSError as error:
        what = f"cannot write {out}: {error.strerror}"
        gone = isinstance(error, FileNotFoundError)
        fix = f"make the folder {out.parent} first" if gone else "make room, or name another place"
        raise Error(what, fix, Code.RESOURCES) from None
    finally:
        if whole and os.path.exists(aside):
            aside.unlink()
