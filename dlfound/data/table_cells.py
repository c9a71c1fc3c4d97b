"""Cells to columns: numbers where every cell that is not missing is a number, else text; polars parses."""

import re
from bisect import bisect_right
from collections.abc import Collection, Iterable

import lazy_loader

from dlfound.config.suggest import override_text
from dlfound.data.table_csv import BLANKS, LARGEST_INTEGER, Form
from dlfound.data.table_rows import Block, Blocks
from dlfound.errors import Problem, printable

pl = lazy_loader.load("polars")

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
GROUPED = re.compile(
    r"[+-]?(\d*,\d+|\d{1,3}(,\d{3})+(\.\d+)?|\d{1,3}(\.\d{3})+(,\d+)?)", re.ASCII
)  # 1,5 1,000.5 1.000,5
INTEGER = r"^[+-]?[0-9]+$"


def stripped(column: "pl.Expr | pl.Series", na: Iterable[str]) -> "pl.Expr | pl.Series":
    """Text without blanks around it; null where nothing is left, or a word for missing."""
    bare = column.str.strip_chars(BLANKS)
    return bare.replace(dict.fromkeys(["", *na])) if na else bare.replace({"": None})


def numbers_of(cells: "pl.Series", decimal: str) -> "pl.Series":
    """Stripped texts as numbers, null where one is none; words for infinity, and 1e400, are infinite."""
    if decimal == ",":
        pointed = cells.str.contains(".", literal=True)
        cells = cells.set(pointed.fill_null(False), None).str.replace(",", ".", literal=True)
    return cells.cast(pl.Float64, strict=False).fill_nan(None)


def present(numbers: "pl.Series", na: Iterable[str]) -> "pl.Series":
    """The numbers without those that are words for missing, such as -999."""
    gone = [float(word) for word in na if NUMBER.fullmatch(word)]
    return numbers.set(numbers.cast(pl.Float64).is_in(gone), None) if gone else numbers


class Columns:
    """What is known of each column while a table is read from its start.

    Attributes:
        text: those that are text.
        others: of a column of text, the first cell that is no number, as an error to raise where numbers are needed.
        problems: of a column of numbers, what makes one useless: infinite, or too large to be exact.
        late: a column turned out to be text behind rows of numbers: the table has to be read again.
    """

    def __init__(self, na: Collection[str], text: Collection[str]):
        self.na, self.text = list(na), set(text)
        self.others: dict[str, Problem] = {}
        self.problems: dict[str, Problem] = {}
        self.late = False
        self._rows = 0
        self._through_text: set[str] = set()  # numbers among which blanks or words for missing were seen

    def again(self) -> None:
        """Forgets the rows, and keeps which columns are text."""
        self.late, self._rows, self.problems = False, 0, {}

    def frame(self, block: Block, form: Form, blocks: Blocks, name: str) -> "pl.DataFrame":
        """The columns of a block.

        Raises:
            Error: a row has too many cells, or too few (code 3).
        """
        frame = self._parsed(block, form, blocks)
        columns = [self._column(column, block, form, name) for column in frame.iter_columns()]
        self._rows += block.rows
        return pl.DataFrame(columns)

    def _parsed(self, block: Block, form: Form, blocks: Blocks) -> "pl.DataFrame":
        """Columns of numbers that are sure, and of text."""
        as_text = self.text | self._through_text
        if form.decimal == "," and b"." in block.data:  # polars takes both signs
            as_text = set(form.columns)
        try:
            frame = _read(block, form, as_text)
        except pl.exceptions.PolarsError:
            blocks.check(block)
            frame = _read(block, form, set(form.columns))
        if frame.height != block.rows or (not block.exact and frame[:, -1].null_count()):
            blocks.check(block)  # a short row is padded by missing cells: only where the last column has some
        assert frame.height == block.rows, "polars reads other rows than were counted"
        unsure = _unsure(frame)
        if unsure:
            self._through_text.update(unsure)
            frame = _read(block, form, as_text | set(unsure))
        return frame

    def _column(self, column: "pl.Series", block: Block, form: Form, name: str) -> "pl.Series":
        if column.dtype != pl.String:
            return present(column, self.na)
        cells, key = stripped(column, self.na), column.name
        if key in self.text:
            return cells
        numbers = numbers_of(cells, form.decimal)
        other = numbers.is_null() & cells.is_not_null()
        if other.any():
            self._turn(key, cells, int(other.arg_true()[0]), block, form, name)
            return cells
        if not numbers.equals(column.cast(pl.Float64, strict=False)):
            self._through_text.add(key)
        self._look(key, cells, numbers, block, name)
        return present(numbers, self.na)

    def _turn(self, key: str, cells: "pl.Series", row: int, block: Block, form: Form, name: str) -> None:
        """The column is text."""
        self.text.add(key)
        self.late |= self._rows > 0
        what = f"{place(name, block, row)}: column '{printable(key)}': '{printable(cells[row][:80])}' is not a number"
        grouped = bool(GROUPED.fullmatch(cells[row]))
        hint = " (looks like a thousands or decimal comma)" * grouped
        sign = "data.decimal=comma, or " * (grouped and form.decimal == ".")
        self.others[key] = Problem(
            f"{what}{hint}", f"{sign}correct it, or {override_text('data.categorical', [key])}"
        )

    def _look(self, key: str, cells: "pl.Series", numbers: "pl.Series", block: Block, name: str) -> None:
        """Writes down the first cell that is infinite, or a whole number that a float cannot hold."""
        if key in self.problems:
            return
        large = numbers.abs() > LARGEST_INTEGER
        if (numbers.abs() == LARGEST_INTEGER).any():  # 2^53 + 1 is read as 2^53
            large |= (numbers.abs() == LARGEST_INTEGER) & ~cells.str.contains(rf"^[+-]?0*{LARGEST_INTEGER}$")
        large &= cells.str.contains(INTEGER) | numbers.is_infinite()
        if large.any():
            row = int(large.arg_true()[0])
            said = f"{place(name, block, row)}: column '{printable(key)}': "
            self.problems[key] = number_problem(said, key, cells[row][:80], bool(numbers.is_infinite()[row]))


def number_problem(said: str, key: str, value: object, infinite: bool) -> Problem:
    """What is wrong with a number; `said` is where it stands."""
    dropped = override_text("data.drop", [key])
    if infinite:
        return Problem(
            f"{said}infinite value {printable(value)}",
            f"correct it, or make it missing (data.na), or {dropped}",
        )
    fix = f"drop it ({dropped}) or mark it categorical ({override_text('data.categorical', [key])})"
    return Problem(f"{said}{printable(value)} loses precision as float", fix)


def place(name: str, block: Block, row: int) -> str:
    """file:line of a block's row."""
    first, line = block.lines[bisect_right(block.lines, (row, 1 << 62)) - 1]
    return f"{name}:{line + row - first}"


def _read(block: Block, form: Form, text: set[str]) -> "pl.DataFrame":
    schema = {name: pl.String if name in text else pl.Float64 for name in form.columns}
    return pl.read_csv(
        block.data,
        has_header=False,
        schema=schema,
        separator=block.separator,
        eol_char=block.end,
        quote_char=None,
        decimal_comma=form.decimal == ",",
        empty_string_is_null=True,
        glob=False,
    )


def _unsure(frame: "pl.DataFrame") -> list[str]:
    """Columns of numbers with one that is infinite, NaN, or too large to be surely exact."""
    sure = frame.select((pl.col(pl.Float64).abs() < LARGEST_INTEGER).all())
    return [
        name
        for name, all_sure in zip(sure.columns, sure.row(0) if sure.width else (), strict=True)
        if not all_sure
    ]
