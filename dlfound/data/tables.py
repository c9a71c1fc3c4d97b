"""Tables from files: CSV (also .gz) and Parquet, one file or several of the same columns. Strict: nothing is padded,
renamed or invented; what is guessed or skipped is told."""

import glob
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import lazy_loader

from dlfound.data.suffixes import OTHERS, PARQUET, refuse_running
from dlfound.data.table_cells import Columns
from dlfound.data.table_csv import Form, cells_limited, read_form
from dlfound.data.table_parquet import read_parquet
from dlfound.data.table_rows import Block, Blocks
from dlfound.data.table_text import Text, check_file, known_encoding
from dlfound.errors import Code, Error, Problem, printable

np = lazy_loader.load("numpy")
pl = lazy_loader.load("polars")


@dataclass(frozen=True)
class Table:
    """A table as it stands in its files.

    Attributes:
        columns: names, in the order of the first file.
        frame: a polars frame: numbers are Float64 or Int64, text is String without blanks around it, and Parquet also
            has Boolean, Date, Datetime and Time; null is missing, and nothing else (there is no NaN).
        notes: what was guessed, counted or skipped, for a person.
        decimal: the decimal sign of its numbers.
        problems: columns of numbers with one that is infinite or too large: an error where the column is used.
        others: columns of CSV that are text: the first cell that is no number, an error where numbers are needed.
    """

    columns: list[str]
    frame: "pl.DataFrame"
    notes: list[str]
    decimal: str
    problems: dict[str, Problem]
    others: dict[str, Problem]
    _lines: list[tuple[int, str, int]]  # (row, file, line) wherever lines do not go on by one a row

    @property
    def name(self) -> str:
        """The file, the first of several."""
        return self._lines[0][1]

    def place_of(self, row: int) -> str:
        """file:line of a row; rows count from 0 over all files. For Parquet, file:row from 1."""
        name, line = self._place(row)
        return f"{name}:{line}"

    def keep(self, rows: "pl.Series") -> "Table":
        """The rows where the truth values are true; each keeps its place."""
        kept = rows.arg_true().to_numpy()
        breaks = set(np.flatnonzero(np.diff(kept, prepend=-2) != 1).tolist())
        breaks |= set(np.searchsorted(kept, [first for first, _, _ in self._lines]).tolist())
        lines = [(row, *self._place(int(kept[row]))) for row in sorted(breaks) if row < len(kept)]
        return replace(self, frame=self.frame.filter(rows), _lines=lines)

    def _place(self, row: int) -> tuple[str, int]:
        first, name, line = self._lines[bisect_right(self._lines, row, key=lambda entry: entry[0]) - 1]
        return name, line + row - first


def read_table(
    path: str | Path | Sequence[str | Path],
    *,
    sep: str | None,
    decimal: str | None,
    header: bool | None,
    encoding: str,
    na: Collection[str],
    text: Collection[str],
    max_bytes: int,
    max_columns: int,
) -> Table:
    """Reads a table.

    Args:
        path: a file, a pattern of files such as parts/*.csv, or several of both.
        sep: the separator; None guesses it. So does `decimal`, "." or ",".
        header: the first line names the columns; None: it must look as if it did; False: they are called 0, 1, 2, ...
        encoding: of the text.
        na: words for missing, beside the empty cell.
        text: columns to be kept as text even where all cells are numbers.
        max_bytes: of a file's content, unpacked. max_columns: of a row.

    Raises:
        Error: whatever is wrong with a file (code 3), refused by its type (code 7), or with a setting (code 2).
    """
    paths = find_files(path)
    known_encoding(encoding)
    if paths[0].suffix.lower() in PARQUET:
        return _read_parquets(paths, na, text, max_bytes, max_columns)
    columns = Columns(na, text)
    settings = {"sep": sep, "decimal": decimal, "header": header, "max_columns": max_columns}
    with cells_limited(), ThreadPoolExecutor(1) as thread:
        table = _read_csvs(paths, columns, encoding, max_bytes, settings, thread)
        if columns.late:  # known now: which columns are text, whose first cells were read as numbers
            columns.again()
            table = _read_csvs(paths, columns, encoding, max_bytes, settings, thread)
    return table


def find_files(path: str | Path | Sequence[str | Path]) -> list[Path]:
    """The files that a path, a pattern or several of them name: each once, those of a pattern sorted.

    Raises:
        Error: none, none that is read, or of several kinds (code 3); of a kind that can run code (code 7).
    """
    given = [path] if isinstance(path, str | Path) else path
    paths = list(dict.fromkeys(file for one in given for file in _matches(str(one))))
    if not paths:
        raise Error("no data file is named", "set data.path", Code.DATA)
    for file in paths:
        check_file(file)
        _check_type(file)
    if len({file.suffix.lower() in PARQUET for file in paths}) > 1:
        raise Error("data.path names CSV and Parquet files", "give files of one kind", Code.DATA)
    return paths


def _matches(path: str) -> list[Path]:
    if not glob.has_magic(path) or Path(path).exists():
        return [Path(path)]
    found = sorted(glob.glob(path, recursive=True))
    if not found:
        raise Error(f"no data file matches '{printable(path)}'", "check the pattern", Code.DATA)
    return [Path(file) for file in found]


def _check_type(path: Path) -> None:
    suffix, name = path.suffix.lower(), printable(path)
    refuse_running(path, "save the table as .csv, .csv.gz or .parquet")
    if suffix in OTHERS:
        what = f"{name}: files of type {suffix} are not read as a table"
        fix = (
            "data=arrays reads it"
            if suffix in (".npy", ".npz")
            else "save the table as .csv, .csv.gz or .parquet"
        )
        raise Error(what, fix, Code.DATA)


# ---- CSV


def _read_csvs(
    paths: list[Path], columns: Columns, encoding: str, max_bytes: int, settings: dict, thread: Executor
) -> Table:
    frames: list[pl.DataFrame] = []
    lines: list[tuple[int, str, int]] = []
    notes: dict[str, None] = {}
    first: Form | None = None
    rows = 0
    for path in paths:
        source, name = Text(path, encoding, max_bytes), printable(path)
        form = read_form(source, **settings)
        first = first or form
        _check_same(form.columns, first.columns, name, printable(paths[0]))
        blocks, before = Blocks(source, form), rows
        for block in _ahead(blocks, thread):
            frame = columns.frame(block, form, blocks, name)
            if not columns.late:
                frames.append(frame.select(first.columns).rechunk())
                lines += [(rows + row, name, line) for row, line in block.lines]
            rows += block.rows
        if rows == before:
            raise Error(f"{name} has a header but no rows", "give a file with rows", Code.DATA)
        blank = blocks.skipped["blank"]
        told = [f"{blank} blank line{'s' * (blank != 1)} skipped"] if blank else []
        notes.update(dict.fromkeys(f"{name}: {note}" for note in form.notes + told))
    problems = {key: problem for key, problem in columns.problems.items() if key not in columns.text}
    frame = pl.concat(frames)
    return Table(first.columns, frame, list(notes), first.decimal, problems, columns.others, lines)


def _ahead(blocks: Iterable[Block], thread: Executor) -> Iterator[Block]:
    """The same blocks; the thread reads and checks the next one while the caller parses this one."""
    left, end = iter(blocks), object()
    following = thread.submit(next, left, end)
    while (block := following.result()) is not end:
        following = thread.submit(next, left, end)
        yield block


def _check_same(columns: list[str], first: list[str], name: str, first_name: str) -> None:
    sides = ((first, set(columns), name, first_name), (columns, set(first), first_name, name))
    for wanted, given, where, other in sides:
        missing = next((column for column in wanted if column not in given), None)
        if missing is not None:
            what = f"{where} has no column '{printable(missing)}', but {other} has"
            raise Error(what, "give files of the same columns", Code.DATA)


# ---- Parquet


def _read_parquets(
    paths: list[Path], na: Collection[str], text: Collection[str], max_bytes: int, max_columns: int
) -> Table:
    frames: list[pl.DataFrame] = []
    lines: list[tuple[int, str, int]] = []
    problems: dict[str, Problem] = {}
    rows = 0
    for path in paths:
        frame, found = read_parquet(path, na=na, text=text, max_bytes=max_bytes, max_columns=max_columns)
        name = printable(path)
        _check_same(frame.columns, frames[0].columns if frames else frame.columns, name, printable(paths[0]))
        frames.append(frame.select(frames[0].columns) if frames else frame)
        lines.append((rows, name, 1))
        problems = found | problems
        rows += frame.height
    frame = _joined(frames, paths)
    return Table(frame.columns, frame, [], ".", problems, {}, lines)


def _joined(frames: "list[pl.DataFrame]", paths: list[Path]) -> "pl.DataFrame":
    """One frame of several with the same types; whole numbers become numbers with a fraction where others have one."""
    numbers, first = (pl.Int64, pl.Float64), frames[0].schema
    for frame, path in zip(frames, paths, strict=True):
        for name, dtype in frame.schema.items():
            wanted = first[name]
            if dtype != wanted and not {dtype, wanted} <= set(numbers):
                what = f"{printable(path)}: column '{printable(name)}' has type {dtype}, in {printable(paths[0])} {wanted}"
                raise Error(what, "write the files with the same types", Code.DATA)
    return pl.concat(frames, how="vertical_relaxed")
