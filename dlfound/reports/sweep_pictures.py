"""The pictures of a sweep, from its folder's files: settings, importances, the best so far, the curves of the best."""

import csv
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dlfound.errors import Code, Error, printable

DPI = 120
ACROSS = 3  # panels side by side
BEST = 5  # trials whose curves are drawn
BLUE, RED, GREY = "#3b6fb6", "#c8553d", "#9a9a9a"


@dataclass(frozen=True)
class Sweep:
    """What the files of a sweep say.

    Attributes:
        rows: the trials, as `trials.csv` has them.
        metric: the column that decides.
        growing: true where more of it is better.
    """

    path: Path
    rows: list[dict[str, str]]
    report: dict[str, Any]
    metric: str
    growing: bool

    @property
    def done(self) -> list[dict[str, str]]:
        """The trials that came to a good end."""
        return [row for row in self.rows if row["state"] == "done" and row[self.metric]]

    @property
    def lost(self) -> list[dict[str, str]]:
        """Those that came to a bad one."""
        return [row for row in self.rows if row["state"] in ("diverged", "failed")]

    def value(self, row: dict[str, str]) -> float:
        """What came of a trial."""
        return float(row[self.metric])

    @property
    def ranked(self) -> list[dict[str, str]]:
        """Those that came to a good end, the best first."""
        return sorted(self.done, key=self.value, reverse=self.growing)


def read_sweep(path: Path) -> Sweep:
    """The files of a sweep.

    Raises:
        Error: they are not there, or not a sweep's (code 4).
    """
    try:
        report = json.loads((path / "report.json").read_text(encoding="utf-8"))
        with (path / "trials.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        metric = f"val_{report['monitor']}"
        if metric not in (rows or [[metric]])[0] and any(row["state"] == "done" for row in rows):
            raise KeyError(metric)
        return Sweep(path, rows, report, metric, bool(report["growing"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = f"{path} is no sweep that can be drawn: {type(error).__name__} {error}"
        raise Error(what, "let the same command end it", Code.RUN) from None


def draw(path: Path, out: Path) -> list[Path]:
    """Draw all pictures that the sweep in `path` gives into the folder `out`; returns their files."""
    sweep, made = read_sweep(path), []
    drawings: dict[str, Callable[[Sweep], Figure | None]] = {
        "settings.png": settings,
        "importances.png": importances,
        "history.png": history,
        "curves.png": curves,
    }
    for name, drawing in drawings.items():
        figure = drawing(sweep) if sweep.done else None
        if figure is not None:
            figure.savefig(out / name, dpi=DPI)
            made.append(out / name)
    return made


def settings(sweep: Sweep) -> Figure | None:
    """Each setting against the metric: a panel each."""
    keys = list(sweep.report["space"])
    if not keys:
        return None
    down = math.ceil(len(keys) / ACROSS)
    figure = Figure(figsize=(4.2 * min(len(keys), ACROSS), 3.2 * down), layout="constrained")
    panels = figure.subplots(down, min(len(keys), ACROSS), squeeze=False, sharey=True).flat
    limits = _limits([sweep.value(row) for row in sweep.done], sweep.growing)
    for key, panel in zip(keys, panels, strict=False):
        _setting(panel, sweep, key, "tag(log" in sweep.report["space"][key])
        panel.set_ylim(limits)
    for panel in list(panels):
        panel.set_visible(False)
    marks = {
        word: mark
        for axes in figure.axes
        for mark, word in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(marks.values(), marks.keys(), loc="outside upper right", ncols=len(marks), frameon=False)
    figure.supylabel(_label(sweep))
    return figure


def _setting(panel: Axes, sweep: Sweep, key: str, log: bool) -> None:
    rows, lost = ([row for row in found if row[key]] for found in (sweep.done, sweep.lost))
    words = list(dict.fromkeys(row[key] for row in [*rows, *lost]))
    numeric = all(_is_number(word) for word in words)
    if numeric and "choice(" not in sweep.report["space"][key]:
        places, crosses = ([float(row[key]) for row in found] for found in (rows, lost))
        panel.set_xscale("log" if log else "linear")
    else:
        words.sort(key=float if numeric else sweep.report["space"][key].find)
        places, crosses = (_side_by_side(found, key, words) for found in (rows, lost))
        panel.set_xticks(
            range(len(words)), [_short(word) for word in words], rotation=30 if len(words) > 3 else 0
        )
        panel.set_xlim(-0.5, max(len(words), 1) - 0.5)
    if lost:  # they have no value: at the top, whatever the scale
        at_top = {"transform": panel.get_xaxis_transform(), "clip_on": False}
        panel.plot(crosses, [1.0] * len(lost), "x", color=GREY, label="diverged or failed", **at_top)
    panel.scatter(places, [sweep.value(row) for row in rows], s=18, color=BLUE, alpha=0.7, linewidths=0)
    best = sweep.ranked[0]
    if best in rows:
        panel.scatter(
            [places[rows.index(best)]], [sweep.value(best)], s=60, color=RED, zorder=3, label="best"
        )
    panel.set_xlabel(_short(key, 40))
    panel.grid(alpha=0.25)


def _side_by_side(rows: Sequence[dict[str, str]], key: str, words: Sequence[str]) -> list[float]:
    """A place for each trial, around that of its word."""
    count = {word: [row for row in rows if row[key] == word] for word in words}
    return [words.index(row[key]) + _aside(count[row[key]].index(row), len(count[row[key]])) for row in rows]


def _aside(place: int, count: int) -> float:
    """Points of one word lie side by side."""
    return 0.0 if count < 2 else 0.5 * (place / (count - 1) - 0.5)


def _limits(values: Sequence[float], growing: bool) -> tuple[float, float]:
    """What is worth looking at: from the best to a few times the spread of the better half, within what there is."""
    ordered = sorted(values, reverse=growing)
    best, median, worst = ordered[0], ordered[len(ordered) // 2], ordered[-1]
    reach = 4 * abs(median - best)
    far = worst if reach == 0 or abs(worst - best) < reach else best + math.copysign(reach, worst - best)
    low, high = min(best, far), max(best, far)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def importances(sweep: Sweep) -> Figure | None:
    """How much of the differences each setting makes."""
    shares = sweep.report["importances"]
    if not shares:
        return None
    keys = sorted(shares, key=lambda key: shares[key])
    figure = Figure(figsize=(6, 0.8 + 0.4 * len(keys)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh([_short(key, 40) for key in keys], [shares[key] for key in keys], color=BLUE)
    axes.bar_label(bars, [f"{shares[key]:.0%}" for key in keys], padding=4)
    axes.set_xlim(0, 1.12 * max(shares.values()))
    axes.set_xlabel(f"share of the variance of {_label(sweep)}")
    return figure


def history(sweep: Sweep) -> Figure | None:
    """The best so far, and each trial."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    numbers = [int(row["trial"]) for row in sweep.done]
    values = [sweep.value(row) for row in sweep.done]
    better = max if sweep.growing else min
    so_far = [better(values[: i + 1]) for i in range(len(values))]
    axes.scatter(numbers, values, s=18, color=BLUE, alpha=0.7, linewidths=0, label="trial")
    axes.step(
        [*numbers, int(sweep.rows[-1]["trial"])],
        [*so_far, so_far[-1]],
        where="post",
        color=RED,
        label="best so far",
    )
    axes.set_ylim(_limits(values, sweep.growing))
    _counted(axes, "trial")
    axes.set_ylabel(_label(sweep))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    return figure


def curves(sweep: Sweep) -> Figure | None:
    """The metric after each epoch, of the best trials."""
    name, lines = sweep.report["monitor"], []
    for row in sweep.ranked[:BEST]:
        points = [line["val"].get(name) for line in _epochs(sweep.path / row["folder"])]
        if points:
            lines.append((row, [math.nan if v is None else v for v in points]))
    if not lines:
        return None
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    for row, points in lines:
        marker = "o" if len(points) == 1 else None
        axes.plot(range(1, len(points) + 1), points, marker=marker, label=f"trial {row['trial']}")
    known = [v for _, points in lines for v in points if math.isfinite(v)]
    axes.set_ylim(_limits(known, sweep.growing) if known else None)
    _counted(axes, "epoch")
    axes.set_ylabel(_label(sweep))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    return figure


def _counted(axes: Axes, what: str) -> None:
    axes.set_xlabel(what)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _epochs(trial: Path) -> Iterator[dict[str, Any]]:
    """The lines of a trial's run, or of the first of its runs."""
    found = sorted([*trial.glob("metrics.jsonl"), *trial.glob("*/metrics.jsonl")])
    for line in found[0].read_text(encoding="utf-8").splitlines() if found else ():
        yield json.loads(line)


def _label(sweep: Sweep) -> str:
    return f"validation {sweep.report['monitor']}"


def _short(text: str, most: int = 16) -> str:
    text = printable(text)
    return text if len(text) <= most else text[: most - 3] + "..."


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
