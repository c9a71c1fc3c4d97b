"""What one sees while a sweep goes on, on standard error: a live table in a terminal, one line a trial elsewhere."""

import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from dlfound.errors import printable
from dlfound.sweeps.plan import Plan
from dlfound.sweeps.trials import DIVERGED, DONE, FAILED, PRUNED
from dlfound.terminal import age_text, say
from dlfound.terminal import number_text as number

EVERY = 0.25  # seconds between two pictures of the table


def values_text(values: Mapping[str, str]) -> str:
    """A trial's values as words."""
    return printable(" ".join(f"{key}={text}" for key, text in values.items()))


class View:
    """A sweep as it is heard from its workers. Used as a context manager."""

    def __init__(self, plan: Plan, monitor: str):
        self.plan, self.monitor = plan, monitor
        self.states: Counter[str] = Counter()
        self.over, self._begun, self._own = 0, time.monotonic(), 0
        self.best: dict[str, Any] | None = None
        self._running: dict[int, dict[str, Any]] = {}
        self._live: Any = None
        self._last = 0.0

    def __enter__(self) -> "View":
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            # No thread refreshes it: this process forks.
            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *unused: object) -> None:
        if self._live is not None:
            self._live.stop()

    # ---- hearing

    def before(self, place: int, message: dict[str, Any]) -> None:
        """A trial that was over before this command, or a word."""
        if message["kind"] == "end":
            self._count(message)
        elif message["kind"] == "say":
            self.say(message["text"])

    def hear(self, place: int, message: dict[str, Any]) -> None:
        """What a worker says."""
        kind = message["kind"]
        if kind == "begin":
            self._running[place] = message
        elif kind == "epoch":
            self._running.get(place, {}).update(message, kind="begin")
        elif kind == "end":
            self._running.pop(place, None)
            self._own += 1
            self._count(message)
            self.over = max(self.over, message["over"])
            if self._live is None:
                self.say(self._line(message))
        elif kind == "lost":
            held = self._running.pop(place, None)
            told = f" in trial {held['number']}, which goes on from its checkpoint" if held else ""
            self.say(f"a worker was ended by {message['signal']}{told}")
        elif kind == "say":
            self.say(message["text"])

    def _count(self, message: dict[str, Any]) -> None:
        self.states[message["state"]] += 1
        self.over = max(self.over, sum(self.states.values()))
        if message["state"] == DONE and (self.best is None or _rank(message) < _rank(self.best)):
            self.best = message

    def say(self, text: str) -> None:
        """A line that stays."""
        if self._live is None:
            say(printable(text))
        else:
            from rich.text import Text

            self._live.console.print(Text(f"dlfound: {printable(text)}"))

    # ---- showing

    def look(self) -> None:
        """Draw the table anew, where there is one and it is time."""
        if self._live is not None and time.monotonic() - self._last >= EVERY:
            self._last = time.monotonic()
            self._live.update(self._table(), refresh=True)

    def _line(self, message: dict[str, Any]) -> str:
        result = message["reason"] or self._metric(message)
        words = values_text(message["values"])
        parts = [f"trial {message['number']}", message["state"], result, f"{message['seconds']:.1f} s", words]
        best = f"; best {self._metric(self.best)} (trial {self.best['number']})" if self.best else ""
        return f"{'  '.join(part for part in parts if part)}  [{self.over}/{self.plan.count}{best}]"

    def _metric(self, message: Mapping[str, Any]) -> str:
        value = message["metrics"].get(self.monitor)
        return f"val {self.monitor} {number(value)}" if value is not None else ""

    def _left(self) -> str:
        if not self._own:
            return ""
        rate = (time.monotonic() - self._begun) / self._own
        return f"{age_text(round(rate * max(0, self.plan.count - self.over)))} left"

    def _table(self) -> Any:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        told = [f"{self.states[s]} {s}" for s in (DONE, PRUNED, DIVERGED, FAILED) if self.states[s]]
        head = "  ".join(
            filter(None, [f"{self.over} of {self.plan.count} trials", ", ".join(told), self._left()])
        )
        table = Table(box=None, pad_edge=False)
        for name in ("trial", "epoch", f"val {self.monitor}", "settings"):
            table.add_column(name, no_wrap=True, overflow="ellipsis")
        for _, run in sorted(self._running.items()):
            epoch = f"{run['epoch']}/{run['of']}" if "epoch" in run else "-"
            table.add_row(str(run["number"]), epoch, number(run.get("val")), Text(values_text(run["values"])))
        best = []
        if self.best is not None:
            text = f"best: {self._metric(self.best)}, trial {self.best['number']}: {values_text(self.best['values'])}"
            best = [Text(text, no_wrap=True, overflow="ellipsis")]
        return Group(
            Text(head, no_wrap=True, overflow="ellipsis"), *([table] if self._running else []), *best
        )


def _rank(message: Mapping[str, Any]) -> tuple[float, int]:
    return message["value"], message["number"]
