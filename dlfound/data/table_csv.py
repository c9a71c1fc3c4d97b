"""The form of a CSV file: its separator and decimal sign, guessed and told, and its header, checked."""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import NoReturn

from dlfound.data.table_text import Text
from dlfound.errors import Code, Error, printable

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}  # what is guessed
MAX_CELL = 1 << 20  # characters
SAMPLE_ROWS, SAMPLE_LINES, SAMPLE_BYTES = (
    1000,
    1 << 16,
    1 << 20,
)  # what a guess looks at; there may be blank lines
BLANKS = " \t\u00a0\ufeff"  # what may stand around a cell
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
LARGEST_INTEGER = 1 << 53  # whole numbers up to here are exact as 64-bit floats
WITH_COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+([eE][+-]?[0-9]+)?")
MEASURED = re.compile(r"[+-]?[0-9]*[.,][0-9]+([eE][+-]?[0-9]+)?|-[0-9]+")  # hardly a name


@dataclass(frozen=True)
class Form:
    """How a file's lines are to be read.

    Attributes:
        separator: the character between cells.
        decimal: "." or ",".
        columns: their names.
        notes: what was guessed, for a person.
    """

    separator: str
    decimal: str
    columns: list[str]
    notes: list[str]


@contextmanager
def cells_limited() -> Iterator[None]:
    """Python's csv module takes cells up to MAX_CELL within this block."""
    before = csv.field_size_limit(MAX_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def read_form(
    text: Text, *, sep: str | None, decimal: str | None, header: bool | None, max_columns: int
) -> Form:
    """Guesses what is not given, reads the header and takes it away from the text.

    Raises:
        Error: no sound header, too many columns, two separators that fit (code 3), signs that clash (code 2).
    """
    _check_signs(sep, decimal)
    notes: list[str] = []
    if header is not False:
        _drop_blank_lines(text, b"\n" if sep == " " else b" \n")
    separator = sep or _guess_separator(text, notes)
    head = next(read_rows(text.lines(), separator, printable(text.path), text.line), None)
    if head is None:
        raise Error(f"{printable(text.path)} holds only blank lines", "give a file with rows", Code.DATA)
    cells = [cell.strip(BLANKS) for cell in head.cells]
    place = f"{printable(text.path)}:{head.line}"
    if len(cells) > max_columns:
        what = f"{place}: {len(cells):,} columns exceed data.max_columns ({max_columns:,})"
        raise Error(what, "raise data.max_columns, or check the separator (data.sep)", Code.DATA)
    decimal = decimal or _guess_decimal(text, separator, notes)
    if header is False:
        return Form(separator, decimal, [str(number) for number in range(len(cells))], notes)
    if header is None:
        _check_looks(cells, place)
    _check_names(cells, place, notes)
    if cells != head.cells:
        notes.append("blanks around column names are stripped")
    _drop_lines(text, head.end - text.line + 1)
    return Form(separator, decimal, cells, notes)


def _check_signs(sep: str | None, decimal: str | None) -> None:
    if sep is not None and (len(sep) != 1 or not sep.isascii() or sep in '"\r\n\0' or sep.isalnum()):
        what = f"data.sep='{printable(sep)}' is no separator"
        raise Error(what, "give one character, such as , or ; or a tab", Code.CONFIG)
    if decimal not in (None, ".", ","):
        raise Error(f"data.decimal='{printable(decimal)}'", "give . or ,", Code.CONFIG)
    if sep is not None and sep == decimal:
        what = f"data.sep and data.decimal are both '{sep}'"
        raise Error(what, "choose different signs", Code.CONFIG)


def _drop_blank_lines(text: Text, blanks: bytes) -> None:
    """Lines of such signs alone at the text's head: there may be millions."""
    while cut := text.data.rfind(b"\n", 0, len(text.data) - len(text.data.lstrip(blanks))) + 1:
        text.drop(cut, text.data.count(b"\n", 0, cut))
        if not text.data and not text.ended:
            text.more()


def _drop_lines(text: Text, lines: int) -> None:
    end = 0
    for _ in range(lines):
        end = text.data.index(b"\n", end) + 1
    text.drop(end, lines)


# ---- rows, by Python's csv module


@dataclass(frozen=True)
class Row:
    """The cells of a row as they stand in the file, its first line and its last."""

    cells: list[str]
    line: int
    end: int


def read_rows(
    lines: Iterator[str], separator: str, name: str, first: int, skipped: Counter | None = None
) -> Iterator[Row]:
    """The rows of some lines, the first of which is the file's line `first`; blank lines are counted.

    Raises:
        Error: a quote that is never closed, text after one, a cell above 1 MB (code 3).
    """
    tape = _Tape(lines)
    reader = csv.reader(tape, delimiter=separator, strict=True, skipinitialspace=separator != " ")
    blanks = BLANKS.replace(separator, "") + "\n"
    while True:
        start = first + reader.line_num
        tape.row.clear()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            _tell(str(error), tape.row, separator, name, start)
        if len(tape.row) == 1 and not tape.row[0].strip(blanks):
            if skipped is not None:
                skipped["blank"] += 1
            continue
        yield Row(cells, start, first + reader.line_num - 1)


class _Tape:
    """Lines that remember those of the row that is being read."""

    def __init__(self, lines: Iterator[str]):
        self.lines, self.row = lines, []

    def __iter__(self) -> "_Tape":
        return self

    def __next__(self) -> str:
        self.row.append(next(self.lines))
        return self.row[-1]


def _tell(error: str, row: list[str], separator: str, name: str, start: int) -> NoReturn:
    """Raises what the csv module said, in words and at the line where it began."""
    if "field larger" in error:
        lines = "" if len(row) == 1 else " (is its quote closed?)"
        what = f"{name}:{start}: field larger than {MAX_CELL >> 20} MB{lines}"
        raise Error(what, "check the file; a cell of a table is short", Code.DATA) from None
    line = start + _opening(row, separator)
    if "unexpected end" in error:
        what = f"{name}:{line}: quote opened here is never closed"
        raise Error(what, 'close it; a quote inside of quotes is written twice: ""', Code.DATA) from None
    what = f"{name}:{line}: text goes on after a closing quote (in line {start + len(row) - 1})"
    raise Error(
        what,
        'close quotes only at the end of a cell; inside of quotes a quote is written twice: ""',
        Code.DATA,
    )


def _opening(row: list[str], separator: str) -> int:
    """How many lines into a row the last quoted cell begins that a reader would begin there."""
    opened, quoted, before = 0, False, separator
    for number, line in enumerate(row):
        for character in line:
            if character == '"' and not quoted and before == separator:
                opened, quoted = number, True
            elif character == '"' and quoted:
                quoted, before = False, '"'  # or the first of two
                continue
            elif character == '"' and before == '"':
                quoted = True  # the second of two
            before = before if character == " " and before == separator else character
    return opened


# ---- guesses


def _guess_separator(text: Text, notes: list[str]) -> str:
    """The one sign that cuts all sampled rows into as many cells as the first, more than one."""
    name, first = printable(text.path), next((line for line in text.lines() if line.strip()), "")
    present = [sign for sign in SEPARATORS if sign in first]
    fitting = [sign for sign in present if _fits(text, sign)]
    if len(fitting) > 1 or (not fitting and len(present) > 1):
        signs, none = (
            " and ".join(SEPARATORS[sign] for sign in fitting or present),
            "none" if not fitting else "each",
        )
        what = f"{name}: {signs} stand in the first line and {none} of them cuts all rows alike"
        words = " or ".join(f"data.sep={SEPARATORS[sign]}" for sign in fitting or present)
        raise Error(what, f"say which one it is: {words}", Code.DATA)
    chosen = (fitting or present or [","])[0]
    if chosen != ",":
        notes.append(f"the separator is a {SEPARATORS[chosen]} (data.sep)")
    return chosen


def _sample(text: Text, separator: str) -> Iterator[Row]:
    """The first rows; a row that the sample cuts, or cannot be read, ends it."""
    size = 0

    def bounded() -> Iterator[str]:
        nonlocal size
        for line in islice(text.lines(), SAMPLE_LINES):
            yield line
            size += len(line)
            if size > SAMPLE_BYTES:
                return

    try:
        yield from islice(read_rows(bounded(), separator, printable(text.path), text.line), SAMPLE_ROWS)
    except Error:  # it is told when the whole file is read
        return


def _fits(text: Text, separator: str) -> bool:
    widths = {len(row.cells) for row in _sample(text, separator)}
    return len(widths) == 1 and widths != {1}


def _guess_decimal(text: Text, separator: str, notes: list[str]) -> str:
    """A comma where numbers of the sample have one and none has a point."""
    if separator == ",":
        return "."
    cells = [
        cell.strip(BLANKS)
        for row in _sample(text, separator)
        for cell in row.cells
        if "," in cell or "." in cell
    ]
    comma = next((cell for cell in cells if WITH_COMMA.fullmatch(cell)), None)
    if comma is None or any("." in cell and NUMBER.fullmatch(cell) for cell in cells):
        return "."
    notes.append(f"the decimal sign is a comma, as in {printable(comma)} (data.decimal)")
    return ","


# ---- the header


def _check_looks(names: list[str], place: str) -> None:
    numbers = [name for name in names if NUMBER.fullmatch(name)]
    counted = len(names) > 2 and names == [
        str(number) for number in range(len(names))
    ]  # as pandas names columns
    unnamed = names.count("")
    if not counted and (
        (numbers and len(numbers) + unnamed == len(names)) or any(MEASURED.fullmatch(name) for name in names)
    ):
        fix = "set data.header=false; or data.header=true if these are names"
        raise Error(f"{place}: first line looks like data", fix, Code.DATA)


def _check_names(names: list[str], place: str, notes: list[str]) -> None:
    for number, name in enumerate(names, 1):
        if not name:
            raise Error(
                f"{place}: column {number} has no name", "name it, or set data.header=false", Code.DATA
            )
    seen: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if name in seen:
            what = f"{place}: duplicate column name '{printable(name)}' (columns {seen[name]} and {number})"
            raise Error(what, "rename one of them, or set data.header=false if there is no header", Code.DATA)
        seen[name] = number
    if numbers := [name for name in names if NUMBER.fullmatch(name)]:
        some = ", ".join(printable(name) for name in numbers[:3])
        notes.append(
            f"columns are called {some}{' ...' * (len(numbers) > 3)} by the first line (data.header)"
        )
