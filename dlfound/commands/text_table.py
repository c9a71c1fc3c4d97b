"""Tables of text: plain in a pipe; in a terminal no wider than the terminal."""

import shutil
import sys
from collections.abc import Mapping, Sequence

from dlfound.terminal import number_text, say

GAP = "  "
LONGEST = 32  # characters of a cell in a terminal
SHORTEST = 8  # characters that stay of a shortened name

Rows = Sequence[Mapping[str, str]]


def print_table(rows: Rows, columns: Sequence[str], ranked: Sequence[str], hint: str) -> None:
    """Print a table; in a terminal, shorten names and leave out columns until it fits.

    Args:
        rows: column -> text, one per line.
        columns: from left to right; the first one holds the names.
        ranked: the same columns, the most important first; the last ones are left out first.
        hint: how to see all columns, for the message about those left out.
    """
    if not sys.stdout.isatty():
        print(table(rows, columns))
        return
    room = shutil.get_terminal_size().columns
    cut = [{name: text if name == columns[0] else _cut(text) for name, text in row.items()} for row in rows]
    for count in range(len(ranked), 0, -1):
        shown = [name for name in columns if name in ranked[:count]]
        fitted = shorten_names(cut, shown, room)
        if width(fitted, shown) <= room:
            break
    print(table(fitted, shown))
    if left_out := len(columns) - len(shown):
        say(f"{left_out} of {len(columns)} columns left out to fit the terminal; {hint}")


def result_table(metrics: Mapping[str, Mapping[str, float | None]]) -> str:
    """Return a table of metrics: one line per part of the data, one column per metric."""
    names = list(next(iter(metrics.values())))
    rows = [
        {"": part, **{name: number_text(values[name]) for name in names}} for part, values in metrics.items()
    ]
    return table(rows, ["", *names])


def table(rows: Rows, columns: Sequence[str]) -> str:
    """Return the lines of a table, with words aligned to the left and numbers to the right."""
    aligned = []
    for name in columns:
        cells = [name, *(row[name] for row in rows)]
        widest = max(map(len, cells))
        is_text = name == columns[0] or any(cell[:1].isalpha() for cell in cells[1:])
        aligned.append([cell.ljust(widest) if is_text else cell.rjust(widest) for cell in cells])
    return "\n".join(GAP.join(line).rstrip() for line in zip(*aligned, strict=True))


def shorten_names(rows: Rows, columns: Sequence[str], room: int) -> list[dict[str, str]]:
    """Shorten the names in the first column to their ends to make the table fit; they stay distinct."""
    first = columns[0]
    names = {row[first] for row in rows}
    length = max(map(len, names)) - max(width(rows, columns) - room, 0)
    length = max(length, SHORTEST)
    while len({_tail(name, length) for name in names}) < len(names):
        length += 1
    return [{**row, first: _tail(row[first], length)} for row in rows]


def width(rows: Rows, columns: Sequence[str]) -> int:
    """Return the number of characters in the table's longest line."""
    widths = [max(len(text) for text in (name, *(row[name] for row in rows))) for name in columns]
    return sum(widths) + len(GAP) * (len(columns) - 1)


def _tail(text: str, length: int) -> str:
    return text if len(text) <= length else "..." + text[3 - length :]


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
