"""What a person sees while a net trains, on standard error; nothing where that is no terminal."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dlfound.errors import printable
from dlfound.runs.result_table import number


def say(text: str) -> None:
    """A message on standard error."""
    print(f"dlfound: {printable(text)}", file=sys.stderr, flush=True)


def age_text(seconds: int) -> str:
    """How long ago, in the largest unit that gives at least two of it (one minute counts)."""
    for unit, length, enough in (("d", 86400, 2), ("h", 3600, 2), ("min", 60, 1)):
        if seconds >= enough * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


@contextmanager
def watched(names: Sequence[str], shown: bool) -> Iterator[Callable[[str], None]]:
    """A bar of things to do; what it gives is to be called with the name of each as it begins."""
    if not (shown and sys.stderr.isatty()):
        yield lambda name: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns: list[Any] = [MofNCompleteColumn(), BarColumn(bar_width=16)]
    columns += [TextColumn("{task.description}", markup=False), TimeElapsedColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=8) as bar:
        task = bar.add_task("", total=len(names))
        yield lambda name: bar.update(task, completed=list(names).index(name), description=name)


class Progress:
    """A bar of epochs with losses, monitor, rate and time left. Used as a context manager."""

    def __init__(self, epochs: int, monitor: str, shown: bool):
        self.monitor, self._bar, self._task = monitor, None, None
        if shown and sys.stderr.isatty():
            self._start(epochs)

    def _start(self, epochs: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns: list[Any] = [TextColumn("epoch"), MofNCompleteColumn(), BarColumn(bar_width=16)]
        columns += [TextColumn("{task.description}", markup=False), TimeRemainingColumn(compact=True)]
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=8)
        self._task = self._bar.add_task("", total=epochs)

    def __enter__(self) -> "Progress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *unused: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def epoch(self, epoch: Any, best_epoch: int) -> None:
        """Show one more epoch (a `training.loop.Epoch`)."""
        if self._bar is None:
            return
        losses = f"loss {number(epoch.train['loss'])} val {number(epoch.val['loss'])}"
        watched = "" if self.monitor == "loss" else f" {self.monitor} {number(epoch.val[self.monitor])}"
        text = f"{losses}{watched} best @{best_epoch} lr {epoch.lr:.2g}"
        self._bar.update(self._task, completed=epoch.number, description=text)
