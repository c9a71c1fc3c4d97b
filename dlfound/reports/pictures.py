"""Pictures drawn from files: those of a sweep, and of the range test in a check's folder."""

import csv
import io
import itertools
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure  # pyplot would keep figures in memory and look for a display

from dlfound.errors import Code, Error, printable
from dlfound.runs.folder import RunFolder, make_folder

DPI = 120
PANELS_PER_ROW = 3
CURVES = 5  # best trials whose curves are drawn
BLUE = "#3b6fb6"
GREEN = "#2ca02c"
RED = "#c8553d"
GREY = "#9a9a9a"
Row = dict[str, str]


def new_figure(width: float, height: float) -> Figure:
    """Create a figure of so many inches."""
    return Figure(figsize=(width, height), layout="constrained", dpi=DPI)


def new_axes(width: float, height: float) -> Axes:
    """Create a figure with a single panel."""
    return new_figure(width, height).subplots()


# ---- the range test


def draw_range_test(folder: RunFolder, source: str, target: str) -> None:
    """Draw the range test in a folder's `source`, a check.json, into its `target`, a PNG file.

    Crosses at the top mark the rates at which training diverged.
    """
    checks = folder.read_json(source)["checks"]
    numbers = next(entry["numbers"] for entry in checks if entry["name"] == "learning_rate")
    initial = numbers["initial_loss"]
    trained = [trial for trial in numbers["tried"] if trial["loss"] is not None]
    # Well above the loss before the first step; if that is unknown or not positive, above all losses.
    top = 1.5 * initial if (initial or 0) > 0 else max([0.0, *(trial["loss"] for trial in trained)]) + 1.0
    shown = [trial for trial in trained if trial["loss"] <= top]
    diverged = [trial["lr"] for trial in numbers["tried"] if trial not in shown]
    axes = new_axes(7.0, 4.0)
    axes.axvspan(*numbers["learns"], color=GREEN, alpha=0.12, label="learns")
    if initial is not None:
        axes.axhline(initial, color=GREY, linewidth=1, linestyle=":", label="before the first step")
    rates = [trial["lr"] for trial in shown]
    axes.plot(rates, [trial["loss"] for trial in shown], color=BLUE, marker="o", markersize=3)
    tops = [top] * len(diverged)
    axes.plot(diverged, tops, color=RED, marker="x", linestyle="", label="diverges", clip_on=False)
    configured = numbers["configured"]
    axes.axvline(configured, color=RED, linewidth=1, label=f"configured: {configured:g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel=f"loss after {numbers['steps']} steps")
    axes.set_ylim(top=top)
    axes.legend(loc="lower left", frameon=False, fontsize="small")
    content = io.BytesIO()
    axes.figure.savefig(content)
    folder.write_bytes(target, content.getvalue())


# ---- a sweep


@dataclass(frozen=True)
class SweepFiles:
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


def read_sweep(path: Path) -> SweepFiles:
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
        return SweepFiles(path, rows, report, metric, bool(report["growing"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"cannot read the sweep in {path}: {type(error).__name__} {error}"
        raise Error(message, "rerun the sweep's command to write its files again", Code.RUN) from None


def draw(path: Path, out: Path) -> list[Path]:
    """Draw the pictures of the sweep in `path` into the folder `out`; returns their files.

    There are none if no trial has a value to draw; then the folder is not made.
    """
    sweep = read_sweep(path)
    if not sweep.done:
        return []
    make_folder(out)
    files = []
    for drawing in (settings, importances, history, curves):
        figure = drawing(sweep)
        if figure is not None:
            files.append(out / f"{drawing.__name__}.png")
            figure.savefig(files[-1])
    return files


def settings(sweep: SweepFiles) -> Figure | None:
    """Draw each setting against the metric, one panel per setting."""
    keys = list(sweep.report["space"])
    if not keys:
        return None
    columns = min(len(keys), PANELS_PER_ROW)
    rows = math.ceil(len(keys) / columns)
    figure = new_figure(4.2 * columns, 3.2 * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).flat
    limits = _limits([sweep.value(row) for row in sweep.done], sweep.growing)
    for key, panel in zip(keys, panels, strict=False):
        _draw_setting(panel, sweep, key)
        panel.set_ylim(limits)
    for panel in panels:  # those that no setting needs
        panel.set_visible(False)
    drawn = [axes.get_legend_handles_labels() for axes in figure.axes]
    marks = {label: handle for pairs in drawn for handle, label in zip(*pairs, strict=True)}
    figure.legend(marks.values(), marks.keys(), loc="outside upper right", ncols=len(marks), frameon=False)
    figure.supylabel(sweep.label)
    return figure


def _draw_setting(panel: Axes, sweep: SweepFiles, key: str) -> None:
    done = [row for row in sweep.done if row[key]]
    unsuccessful = [row for row in sweep.rows if row["state"] in ("diverged", "failed") and row[key]]
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
    reach = 4 * abs(ordered[len(ordered) // 2] - best) or math.inf
    far = best + math.copysign(min(reach, abs(worst - best)), worst - best)
    low, high = sorted([best, far])
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def importances(sweep: SweepFiles) -> Figure | None:
    """Draw how much of the variance each setting explains."""
    shares = sorted(sweep.report["importances"].items(), key=lambda item: item[1])
    if not shares:
        return None
    keys, values = zip(*shares, strict=True)
    axes = new_axes(6, 0.8 + 0.4 * len(keys))
    bars = axes.barh([_shortened(key, 40) for key in keys], values, color=BLUE)
    axes.bar_label(bars, [f"{share:.0%}" for share in values], padding=4)
    axes.set_xlim(0, 1.12 * max(values))
    axes.set_xlabel(f"share of the variance of {sweep.label}")
    return axes.figure


def history(sweep: SweepFiles) -> Figure:
    """Draw each trial, and the best so far."""
    numbers = [int(row["trial"]) for row in sweep.done]
    values = [sweep.value(row) for row in sweep.done]
    best = list(itertools.accumulate(values, max if sweep.growing else min))
    last = int(sweep.rows[-1]["trial"])
    axes = new_axes(7, 3.6)
    axes.scatter(numbers, values, s=18, color=BLUE, alpha=0.7, linewidths=0, label="trial")
    axes.step([*numbers, last], [*best, best[-1]], where="post", color=RED, label="best so far")
    _finish(axes, sweep, "trial", values)
    return axes.figure


def curves(sweep: SweepFiles) -> Figure | None:
    """Draw the metric after each epoch, for the best trials."""
    axes = new_axes(7, 3.6)
    values: list[float] = []
    for row in sweep.ranked[:CURVES]:
        curve = _read_curve(sweep.path / row["folder"], sweep.report["monitor"])
        if curve:
            marker = "o" if len(curve) == 1 else None
            axes.plot(range(1, len(curve) + 1), curve, marker=marker, label=f"trial {row['trial']}")
            values += curve
    if not values:
        return None
    _finish(axes, sweep, "epoch", [value for value in values if math.isfinite(value)])
    return axes.figure


def _finish(axes: Axes, sweep: SweepFiles, counter: str, values: Sequence[float]) -> None:
    """Set the limits and labels of axes that show the metric over a counter."""
    axes.set_ylim(_limits(values, sweep.growing) if values else None)
    axes.set_xlabel(counter)
    axes.locator_params("x", integer=True)
    axes.set_ylabel(sweep.label)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)


def _read_curve(trial: Path, metric: str) -> list[float]:
    """Read a metric after each epoch of a trial's run, or of the first of its runs."""
    files = sorted([*trial.glob("metrics.jsonl"), *trial.glob("*/metrics.jsonl")])
    lines = files[0].read_text(encoding="utf-8").splitlines() if files else []
    values = [json.loads(line)["val"].get(metric) for line in lines]
    return [math.nan if value is None else value for value in values]


def _shortened(text: str, length: int = 16) -> str:
    text = printable(text)
    return text if len(text) <= length else text[: length - 3] + "..."


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
