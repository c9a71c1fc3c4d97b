"""A table with a line a run: plain and whole in a pipe; in a terminal no wider than that."""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from dlfound.errors import printable
from dlfound.terminal import say

GAP = "  "
LONGEST = 32  # characters of a cell, in a terminal
SHORTEST = 8  # characters of a run's name that are kept at least

Rows = Sequence[Mapping[str, str]]


def print_table(rows: Rows, columns: Sequence[str], dear: Sequence[str], rest: str) -> None:
    """Print a table; in a terminal runs' names are shortened to make it fit, and if need be columns left out.

    Args:
        rows: column -> text, a line each.
        columns: from left to right; the first one names the runs.
        dear: the same columns, the last to be left out first.
        rest: where all of them can be had, for the message that tells.
    """
    if not sys.stdout.isatty():
        print(table(rows, columns))
        return
    room = shutil.get_terminal_size().columns
    cut = [{name: text if name == columns[0] else _cut(text) for name, text in row.items()} for row in rows]
    for count in range(len(dear), 0, -1):
        kept = [name for name in columns if name in dear[:count]]
        fitted = shortened(cut, kept, room)
        if width(fitted, kept) <= room:
            break
    print(table(fitted, kept))
    if left_out := len(columns) - len(kept):
        say(f"{left_out} of {len(columns)} columns left out to fit the terminal; {rest}")


def table(rows: Rows, columns: Sequence[str]) -> str:
    """Words to the left, numbers to the right, two blanks between."""
    lines = []
    for name in columns:
        cells = [name, *(row[name] for row in rows)]
        widest = max(map(len, cells))
        words = name == columns[0] or any(cell[:1].isalpha() for cell in cells[1:])
        lines.append([cell.ljust(widest) if words else cell.rjust(widest) for cell in cells])
    return "\n".join(GAP.join(line).rstrip() for line in zip(*lines, strict=True))


def shortened(rows: Rows, columns: Sequence[str], room: int) -> list[dict[str, str]]:
    """The rows with as much of the ends of the runs' names as there is room for, and at least what tells them apart."""
    first = columns[0]
    names = {row[first] for row in rows}
    length = max(map(len, names)) - max(width(rows, columns) - room, 0)
    length = max(length, SHORTEST)
    while len({_tail(name, length) for name in names}) < len(names):
        length += 1
    return [{**row, first: _tail(row[first], length)} for row in rows]


def width(rows: Rows, columns: Sequence[str]) -> int:
    """Characters of the table's longest line."""
    return sum(
        max(len(text) for text in (name, *(r[name] for r in rows))) + len(GAP) for name in columns
    ) - len(GAP)


def _tail(text: str, length: int) -> str:
    return text if len(text) <= length else "..." + text[3 - length :]


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def metric_text(value: float | None) -> str:
    """Four digits that count, of large numbers all before the point; a dash where there is none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:#.4g}".rstrip(".")


def setting_text(value: Any) -> str:
    """A setting's value as an override would give it."""
    return printable(
        value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    )
