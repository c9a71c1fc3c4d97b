"""The pictures of a sweep, drawn from the files in its folder.

They show each setting against the metric, the importances, the best value so far and the best curves.
"""

import csv
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dlfound.errors import Code, Error, printable

DPI = 120
COLUMNS = 3  # panels side by side
CURVES = 5  # best trials whose curves are drawn
BLUE = "#3b6fb6"
RED = "#c8553d"
GREY = "#9a9a9a"
Row = dict[str, str]


@dataclass(frozen=True)
class Sweep:
    """The content of a sweep's files.

    Attributes:
        rows: the trials, as in `trials.csv`.
        metric: the column that decides which trial is best.
        growing: True if a higher value is better.
    """

    path: Path
    rows: list[Row]
    report: dict[str, Any]
    metric: str
    growing: bool

    @property
    def done(self) -> list[Row]:
        """The successful trials."""
        return [row for row in self.rows if row["state"] == "done" and row[self.metric]]

    @property
    def unsuccessful(self) -> list[Row]:
        """The trials that diverged or failed."""
        return [row for row in self.rows if row["state"] in ("diverged", "failed")]

    @property
    def ranked(self) -> list[Row]:
        """The successful trials, the best first."""
        return sorted(self.done, key=self.value, reverse=self.growing)

    @property
    def label(self) -> str:
        """The axis label of the metric."""
        return f"validation {self.report['monitor']}"

    def value(self, row: Row) -> float:
        """The metric of a trial."""
        return float(row[self.metric])


def read_sweep(path: Path) -> Sweep:
    """Read the files of a sweep.

    Raises:
        Error: they are missing, or are not those of a sweep (code 4).
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
        message = f"cannot read the sweep in {path}: {type(error).__name__} {error}"
        raise Error(message, "rerun the sweep's command to write its files again", Code.RUN) from None


def draw(path: Path, out: Path) -> list[Path]:
    """Draw the pictures of the sweep in `path` into the folder `out`; returns their files."""
    sweep = read_sweep(path)
    if not sweep.done:
        return []
    drawings: dict[str, Callable[[Sweep], Figure | None]] = {
        "settings.png": settings,
        "importances.png": importances,
        "history.png": history,
        "curves.png": curves,
    }
    files = []
    for name, drawing in drawings.items():
        figure = drawing(sweep)
        if figure is not None:
            figure.savefig(out / name, dpi=DPI)
            files.append(out / name)
    return files


def settings(sweep: Sweep) -> Figure | None:
    """Draw each setting against the metric, one panel per setting."""
    keys = list(sweep.report["space"])
    if not keys:
        return None
    columns = min(len(keys), COLUMNS)
    rows = math.ceil(len(keys) / columns)
    figure = Figure(figsize=(4.2 * columns, 3.2 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).flat
    limits = _limits([sweep.value(row) for row in sweep.done], sweep.growing)
    for key, panel in zip(keys, panels, strict=False):
        _draw_setting(panel, sweep, key)
        panel.set_ylim(limits)
    for panel in panels:  # those that no setting needs
        panel.set_visible(False)
    marks = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        marks |= dict(zip(labels, handles, strict=True))
    figure.legend(marks.values(), marks.keys(), loc="outside upper right", ncols=len(marks), frameon=False)
    figure.supylabel(sweep.label)
    return figure


def _draw_setting(panel: Axes, sweep: Sweep, key: str) -> None:
    done = [row for row in sweep.done if row[key]]
    unsuccessful = [row for row in sweep.unsuccessful if row[key]]
    place = _x_axis(panel, key, sweep.report["space"][key], [*done, *unsuccessful])
    if unsuccessful:  # they have no value, so they are drawn at the top
        at_top = {"transform": panel.get_xaxis_transform(), "clip_on": False}
        crosses = place(unsuccessful)
        panel.plot(crosses, [1.0] * len(crosses), "x", color=GREY, label="diverged or failed", **at_top)
    dots = place(done)
    panel.scatter(dots, [sweep.value(row) for row in done], s=18, color=BLUE, alpha=0.7, linewidths=0)
    best = sweep.ranked[0]
    if best in done:
        dot = dots[done.index(best)]
        panel.scatter([dot], [sweep.value(best)], s=60, color=RED, zorder=3, label="best")
    panel.set_xlabel(_shortened(key, 40))
    panel.grid(alpha=0.25)


def _x_axis(panel: Axes, key: str, space: str, rows: Sequence[Row]) -> Callable[[Sequence[Row]], list[float]]:
    """Set up the x-axis of a panel; returns a function that places trials on it."""
    words = list(dict.fromkeys(row[key] for row in rows))
    numeric = all(_is_number(word) for word in words)
    if numeric and "choice(" not in space:
        panel.set_xscale("log" if "tag(log" in space else "linear")
        return lambda trials: [float(row[key]) for row in trials]
    words.sort(key=float if numeric else space.find)
    rotation = 30 if len(words) > 3 else 0
    panel.set_xticks(range(len(words)), [_shortened(word) for word in words], rotation=rotation)
    panel.set_xlim(-0.5, max(len(words), 1) - 0.5)
    return lambda trials: _spread([words.index(row[key]) for row in trials])


def _spread(indices: Sequence[int]) -> list[float]:
    """Place equal indices side by side, from -0.25 to 0.25 around the index."""
    counts = Counter(indices)
    placed: Counter[int] = Counter()
    positions = []
    for index in indices:
        share = placed[index] / (counts[index] - 1) if counts[index] > 1 else 0.5
        positions.append(index + 0.5 * (share - 0.5))
        placed[index] += 1
    return positions


def _limits(values: Sequence[float], growing: bool) -> tuple[float, float]:
    """The range of the y-axis: from the best value, at most four times as far as the median."""
    ordered = sorted(values, reverse=growing)
    best = ordered[0]
    worst = ordered[-1]
    reach = 4 * abs(ordered[len(ordered) // 2] - best)
    far = worst
    if 0 < reach <= abs(worst - best):
        far = best + math.copysign(reach, worst - best)
    low = min(best, far)
    high = max(best, far)
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def importances(sweep: Sweep) -> Figure | None:
    """Draw how much of the variance each setting explains."""
    shares = sweep.report["importances"]
    if not shares:
        return None
    keys = sorted(shares, key=lambda key: shares[key])
    figure = Figure(figsize=(6, 0.8 + 0.4 * len(keys)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh([_shortened(key, 40) for key in keys], [shares[key] for key in keys], color=BLUE)
    axes.bar_label(bars, [f"{shares[key]:.0%}" for key in keys], padding=4)
    axes.set_xlim(0, 1.12 * max(shares.values()))
    axes.set_xlabel(f"share of the variance of {sweep.label}")
    return figure


def history(sweep: Sweep) -> Figure | None:
    """Draw each trial, and the best so far."""
    numbers = [int(row["trial"]) for row in sweep.done]
    values = [sweep.value(row) for row in sweep.done]
    better = max if sweep.growing else min
    best = [better(values[: i + 1]) for i in range(len(values))]
    last = int(sweep.rows[-1]["trial"])
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.scatter(numbers, values, s=18, color=BLUE, alpha=0.7, linewidths=0, label="trial")
    axes.step([*numbers, last], [*best, best[-1]], where="post", color=RED, label="best so far")
    axes.set_ylim(_limits(values, sweep.growing))
    _label_axes(axes, "trial", sweep.label)
    return figure


def curves(sweep: Sweep) -> Figure | None:
    """Draw the metric after each epoch, for the best trials."""
    name = sweep.report["monitor"]
    lines = {}
    for row in sweep.ranked[:CURVES]:
        values = [epoch["val"].get(name) for epoch in _read_epochs(sweep.path / row["folder"])]
        if values:
            lines[row["trial"]] = [math.nan if value is None else value for value in values]
    if not lines:
        return None
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    for trial, values in lines.items():
        marker = "o" if len(values) == 1 else None
        axes.plot(range(1, len(values) + 1), values, marker=marker, label=f"trial {trial}")
    finite = [value for values in lines.values() for value in values if math.isfinite(value)]
    axes.set_ylim(_limits(finite, sweep.growing) if finite else None)
    _label_axes(axes, "epoch", sweep.label)
    return figure


def _label_axes(axes: Axes, counter: str, label: str) -> None:
    axes.set_xlabel(counter)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(label)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)


def _read_epochs(trial: Path) -> Iterator[dict[str, Any]]:
    """Read the metrics of a trial's run, or of the first of its runs."""
    files = sorted([*trial.glob("metrics.jsonl"), *trial.glob("*/metrics.jsonl")])
    for line in files[0].read_text(encoding="utf-8").splitlines() if files else ():
        yield json.loads(line)


def _shortened(text: str, length: int = 16) -> str:
    text = printable(text)
    return text if len(text) <= length else text[: length - 3] + "..."


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
