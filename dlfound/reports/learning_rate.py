"""The plot of a range test: the loss after short trainings, over the learning rate."""

import io

from dlfound.runs.folder import RunFolder

BLUE = "#1f77b4"
GREEN = "#2ca02c"
RED = "#d62728"
GREY = "#808080"
SIZE = (7.0, 4.0)  # inches
DPI = 120


def draw(folder: RunFolder, source: str, target: str) -> None:
    """Draw the range test in a folder's `source`, a check.json, into its `target`, a PNG file."""
    checks = folder.read_json(source)["checks"]
    numbers = next(entry["numbers"] for entry in checks if entry["name"] == "learning_rate")
    folder.write_bytes(target, plot(numbers))


def plot(numbers: dict) -> bytes:
    """Return a PNG with the loss at each rate, the range that learns, and the configured rate.

    Crosses at the top mark the rates at which training diverged.
    """
    from matplotlib.figure import Figure  # pyplot would keep figures in memory and look for a display

    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    top = _upper_limit(numbers)
    finite = [trial for trial in numbers["tried"] if trial["loss"] is not None and trial["loss"] <= top]
    diverged = [trial["lr"] for trial in numbers["tried"] if trial not in finite]
    axes.axvspan(*numbers["learns"], color=GREEN, alpha=0.12, label="learns")
    if numbers["initial_loss"] is not None:
        axes.axhline(
            numbers["initial_loss"], color=GREY, linewidth=1, linestyle=":", label="before the first step"
        )
    rates = [trial["lr"] for trial in finite]
    axes.plot(rates, [trial["loss"] for trial in finite], color=BLUE, marker="o", markersize=3)
    tops = [top] * len(diverged)
    axes.plot(diverged, tops, color=RED, marker="x", linestyle="", label="diverges", clip_on=False)
    configured = numbers["configured"]
    axes.axvline(configured, color=RED, linewidth=1, label=f"configured: {configured:g}")
    axes.set_xscale("log")
    axes.set_ylim(top=top)
    axes.set_xlabel("learning rate")
    axes.set_ylabel(f"loss after {numbers['steps']} steps")
    axes.legend(loc="lower left", frameon=False, fontsize="small")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI)
    return content.getvalue()


def _upper_limit(numbers: dict) -> float:
    """Return the top of the loss axis; a training that ends above it counts as diverged.

    It is well above the loss before the first step; if that is unknown or not positive, above all losses.
    """
    initial = numbers["initial_loss"]
    if initial is not None and initial > 0:
        return 1.5 * initial
    return max([0.0, *(trial["loss"] for trial in numbers["tried"] if trial["loss"] is not None)]) + 1.0
