"""The short table that stands on standard output."""

from collections.abc import Mapping, Sequence

from dlfound.terminal import number_text


def result_table(rows: Mapping[str, Mapping[str, float | None]]) -> str:
    """One line a part of the data, one column a metric."""
    names = list(next(iter(rows.values())))
    head = ["", *names]
    body = [[part, *(number_text(found[name]) for name in names)] for part, found in rows.items()]
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    return "\n".join(_line(line, widths) for line in [head, *body])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(
        [cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]
    ).rstrip()
