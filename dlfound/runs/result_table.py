"""The short table that stands on standard output."""

from collections.abc import Mapping, Sequence


def result_table(rows: Mapping[str, Mapping[str, float | None]]) -> str:
    """One line a part of the data, one column a metric."""
    names = list(next(iter(rows.values())))
    head = ["", *names]
    body = [[part, *(number(found[name]) for name in names)] for part, found in rows.items()]
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    return "\n".join(_line(line, widths) for line in [head, *body])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(
        [cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]
    ).rstrip()


def number(value: float | None) -> str:
    """Four digits that count; a dash where there is no number."""
    return "-" if value is None else f"{value:.4g}" if abs(value) >= 10 else f"{value:.4f}"
