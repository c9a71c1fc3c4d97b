"""The rows of a CSV file in blocks that a plain parser cannot read otherwise: strict first, then fast.

A block without quotes that has its number of separators is passed on as it is. Where quotes are placed by the book, or
lines are blank, NumPy finds the separators outside of quotes and takes quotes and blank lines away; all else, and every
message, is the work of Python's csv module. From both come cells between NULs and rows that end with CR: neither stands
in a text.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import lazy_loader

from dlfound.data.table_csv import BLANKS, MAX_CELL, Form, read_rows
from dlfound.data.table_text import CHUNK, Text, split_lines
from dlfound.errors import Code, Error, printable

np = lazy_loader.load("numpy")

CELL_END, ROW_END = "\0", "\r"
LARGEST, BYTES_A_COLUMN = (
    1 << 26,
    1 << 13,
)  # of a block: many columns cost much each block, so it has more rows
LINE, QUOTE = ord("\n"), ord('"')
WIDE_BLANKS = [sign.encode("utf-8") for sign in BLANKS if not sign.isascii()]


@dataclass
class Block:
    """Some whole rows.

    Attributes:
        data: their bytes; no quote in it has a meaning.
        separator, end: what stands between cells, and behind each row.
        rows: how many.
        lines: (row in the block, line of the file) wherever the lines do not go on by one a row.
        exact: each row is known to have its number of cells; else only all of them together have.
    """

    data: bytes
    separator: str
    end: str
    rows: int
    lines: list[tuple[int, int]] = field(default_factory=list)
    exact: bool = True


class Blocks:
    """Iterates over the blocks of a text whose header is read.

    Attributes:
        skipped: how many blank lines were skipped so far.
    """

    def __init__(self, text: Text, form: Form):
        self.text, self.form, self.skipped = text, form, Counter()
        self._name, self._width = printable(text.path), len(form.columns)
        self._separator = ord(form.separator)
        self._size = min(LARGEST, max(CHUNK, self._width * BYTES_A_COLUMN))
        self._scratch = np.empty(1 << 20, np.bool_)
        blank = (BLANKS + "\n").replace(form.separator, "").encode("utf-8")
        self._marked = (
            bytes(byte not in blank for byte in range(128)) + b"\1" * 128
        )  # for each byte: it is not blank

    def __iter__(self) -> Iterator[Block]:
        """Each block.

        Raises:
            Error: a row with more or fewer cells than the header, quotes out of place, a cell too long (code 3).
        """
        text = self.text
        while text.data or not text.ended:
            if len(text.data) < self._size // 2 and not text.ended:
                text.more(self._size - len(text.data))
            quotes = self._quotes()
            cut = text.data.rfind(b"\n") + 1 if quotes is None else self._cut(quotes)
            if cut is None:
                yield from self._slow(text.taken_lines(), text.line)
                return
            data, line, block = text.data[:cut], text.line, None
            if data:
                block = self._plain(data, line) if quotes is None else self._quoted(data, line, quotes)
                yield from (
                    self._slow(split_lines(data), line) if block is None else [block] * (block.rows > 0)
                )
            text.drop(
                cut, block.rows if block is not None and block.data is data else self._count(data, LINE)
            )
            text.check_length(len(text.data), 0)
            if cut == 0 and not text.ended:
                text.more()

    def check(self, block: Block) -> None:
        """Looks at each row of a block that is right in sum.

        Raises:
            Error: a row has too many cells (code 3).
        """
        if not block.exact and self._ends(np.frombuffer(block.data, np.uint8), None) is None:
            for _ in self._slow(split_lines(block.data), block.lines[0][1]):
                pass

    # ---- without quotes

    def _plain(self, data: bytes, line: int) -> Block | None:
        """The block as it is, where the separators are right in sum and no line is long; else without blank lines."""
        rows = self._count(data, LINE)
        if (
            self._width == 1
            or self._count(data, self._separator) != rows * (self._width - 1)
            or _has_long_line(data)
        ):
            return self._quoted(data, line, np.empty(0, np.int64))
        return Block(data, self.form.separator, "\n", rows, [(0, line)], exact=False)

    def _count(self, data: bytes, sign: int) -> int:
        """How often a byte stands there; piece by piece through one small array, far cheaper than a new large one."""
        values, total, size = np.frombuffer(data, np.uint8), 0, len(self._scratch)
        for start in range(0, len(values), size):
            piece = values[start : start + size]
            total += np.count_nonzero(np.equal(piece, sign, out=self._scratch[: len(piece)]))
        return int(total)

    # ---- with quotes

    def _quotes(self) -> "np.ndarray | None":
        """Where quotes stand in the text's piece, if any does."""
        data = self.text.data
        return np.flatnonzero(np.frombuffer(data, np.uint8) == QUOTE) if b'"' in data else None

    def _cut(self, quotes: "np.ndarray") -> int | None:
        """The end of the last whole row; None where a quote is out of place, or one is never closed."""
        text, values = self.text, np.frombuffer(self.text.data, np.uint8)
        before = np.where(quotes > 0, values[quotes - 1], LINE)
        after = values[np.minimum(quotes + 1, len(values) - 1)]
        after[quotes + 1 == len(values)] = LINE  # unknown yet, and behind the cut
        if not (self._at_border(before[0::2]).all() and self._at_border(after[1::2]).all()):
            return None
        line_ends = np.flatnonzero(values == LINE)
        outside = line_ends[np.searchsorted(quotes, line_ends) % 2 == 0]
        cut = int(outside[-1]) + 1 if len(outside) else 0
        left = len(values) - cut
        return None if left and (text.ended or left > CHUNK) else cut

    def _at_border(self, neighbours: "np.ndarray") -> "np.ndarray":
        return (neighbours == self._separator) | (neighbours == LINE) | (neighbours == QUOTE)

    def _quoted(self, data: bytes, line: int, quotes: "np.ndarray") -> Block | None:
        """The block without its quotes and blank lines; a quote within a cell is written once."""
        values, quotes = np.frombuffer(data, np.uint8), quotes[quotes < len(data)]
        if _has_long_line(data) or (
            self._width == 1 and b'""' in data
        ):  # an empty cell would be a blank line
            return None
        ends = self._ends(values, quotes) if self._width > 1 else None
        blank = self._blank(data, quotes) if ends is None else np.zeros(len(values), np.bool_)
        ends = self._ends(values, quotes, blank) if ends is None else ends
        if ends is None:
            return None
        plain, kept = values.copy(), ~blank
        plain[ends[:, :-1]], plain[ends[:, -1]] = ord(CELL_END), ord(ROW_END)
        kept[quotes] = False
        closing = quotes[1::2]
        kept[closing[values[np.minimum(closing + 1, len(values) - 1)] == QUOTE]] = True  # the first of two
        blanks = np.flatnonzero(blank & (values == LINE))
        self.skipped["blank"] += len(blanks)
        lines = _jumps(np.flatnonzero(values == LINE), ends[:, -1], blanks, line)
        return Block(plain[kept].tobytes(), CELL_END, ROW_END, len(ends), lines)

    def _blank(self, data: bytes, quotes: "np.ndarray") -> "np.ndarray":
        """For each byte: it belongs to a blank line, which lies in no quoted cell."""
        ends = np.flatnonzero(np.frombuffer(data, np.uint8) == LINE)
        starts = np.concatenate([[0], ends[:-1] + 1])
        for sign in WIDE_BLANKS:
            data = data.replace(sign, b"\n" * len(sign))
        some = np.logical_or.reduceat(np.frombuffer(data.translate(self._marked), np.bool_), starts)
        return np.repeat(~some & (np.searchsorted(quotes, starts) % 2 == 0), ends + 1 - starts)

    def _ends(
        self, values: "np.ndarray", quotes: "np.ndarray | None", blank: "np.ndarray | None" = None
    ) -> "np.ndarray | None":
        """Where each cell ends, (rows, columns); None where a row has more or fewer cells."""
        found = (values == self._separator) | (values == LINE)
        places = np.flatnonzero(found if blank is None else found & ~blank)
        if quotes is not None:
            places = places[np.searchsorted(quotes, places) % 2 == 0]
        if len(places) % self._width:
            return None
        ends = places.reshape(-1, self._width)
        closed = values[ends] == LINE
        return ends if closed[:, -1].all() and not closed[:, :-1].any() else None

    # ---- by Python's csv module

    def _slow(self, lines: Iterator[str], first: int) -> Iterator[Block]:
        parts: list[str] = []
        places: list[tuple[int, int]] = []
        size, expected = 0, -1
        for row in read_rows(lines, self.form.separator, self._name, first, self.skipped):
            if len(row.cells) != self._width:
                raise self._ragged(row.line, len(row.cells))
            if row.line != expected or not parts:
                places.append((len(parts), row.line))
            expected = row.line + 1
            parts.append(CELL_END.join(row.cells))
            size += len(parts[-1])
            if size > CHUNK:
                yield _joined(parts, places)
                parts, places, size = [], [], 0
        if parts:
            yield _joined(parts, places)

    def _ragged(self, line: int, cells: int) -> Error:
        what = f"{self._name}:{line}: {cells} field{'s' * (cells != 1)}, header has {self._width}"
        return Error(what, "correct the row, or check the separator (data.sep) and the quotes", Code.DATA)


def _joined(rows: list[str], places: list[tuple[int, int]]) -> Block:
    return Block((ROW_END.join(rows) + ROW_END).encode("utf-8"), CELL_END, ROW_END, len(rows), places)


def _has_long_line(data: bytes) -> bool:
    """A line may be so long that a cell in it is too long: some stretch of half that length has no line end."""
    half = MAX_CELL // 2
    return any(data.find(b"\n", start, start + half) < 0 for start in range(0, len(data) - half, half))


def _jumps(
    line_ends: "np.ndarray", row_ends: "np.ndarray", blanks: "np.ndarray", line: int
) -> list[tuple[int, int]]:
    """(row, its line) for the first row and for each row behind one of several lines, or behind blank ones."""
    if len(line_ends) == len(row_ends):
        return [(0, line)]
    after = np.searchsorted(line_ends, row_ends) + 1  # lines up to the end of each row
    skipped = np.diff(np.searchsorted(blanks, row_ends), prepend=0)  # blank ones before each row
    starts = np.concatenate([[0], after])[:-1] + skipped + line
    rows = np.flatnonzero(np.diff(starts, prepend=-1) != 1)
    return [(int(row), int(starts[row])) for row in rows]
