"""The range test: the loss after short trainings, over the learning rate."""

import io

from dlfound.runs.folder import RunFolder

BLUE, GREEN, RED, GREY = "#1f77b4", "#2ca02c", "#d62728", "#808080"
SIZE = (7.0, 4.0)  # inches
DOTS = 120  # an inch


def draw(folder: RunFolder, source: str, target: str) -> None:
    """Draw the range test that a folder's `source` (JSON) holds into its `target` (PNG)."""
    checks = folder.read_json(source)["checks"]
    numbers = next(done["numbers"] for done in checks if done["name"] == "learning_rate")
    folder.write_bytes(target, picture(numbers))


def picture(numbers: dict) -> bytes:
    """A PNG: the loss at each rate, the range that learns, the configured rate; crosses where a training diverged."""
    from matplotlib.figure import Figure  # not pyplot, which keeps figures alive and asks for a screen

    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    initial, tried = numbers["initial_loss"], numbers["tried"]
    top = _top(numbers)
    shown = [t for t in tried if t["loss"] is not None and t["loss"] <= top]
    lost = [t["lr"] for t in tried if t not in shown]
    axes.axvspan(*numbers["learns"], color=GREEN, alpha=0.12, label="learns")
    if initial is not None:
        axes.axhline(initial, color=GREY, linewidth=1, linestyle=":", label="before the first step")
    axes.plot([t["lr"] for t in shown], [t["loss"] for t in shown], color=BLUE, marker="o", markersize=3)
    axes.plot(lost, [top] * len(lost), color=RED, marker="x", linestyle="", label="diverges", clip_on=False)
    axes.axvline(
        numbers["configured"], color=RED, linewidth=1, label=f"configured: {numbers['configured']:g}"
    )
    axes.set_xscale("log")
    axes.set_ylim(top=top)
    axes.set_xlabel("learning rate")
    axes.set_ylabel(f"loss after {numbers['steps']} steps")
    axes.legend(loc="lower left", frameon=False, fontsize="small")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DOTS)
    return content.getvalue()


def _top(numbers: dict) -> float:
    """The upper edge: well above the loss before the first step, where there is one. What lies beyond has diverged."""
    if numbers["initial_loss"] is not None and numbers["initial_loss"] > 0:
        return 1.5 * numbers["initial_loss"]
    return max([0.0, *(t["loss"] for t in numbers["tried"] if t["loss"] is not None)]) + 1.0
