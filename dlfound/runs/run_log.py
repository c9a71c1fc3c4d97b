"""The messages of a run, for the person, log.txt and the report; and the progress bar."""

import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dlfound.errors import Error, Stopped, printable
from dlfound.runs.folder import RunFolder
from dlfound.terminal import number_text, say

WARNING = "warning: "


@dataclass
class RunLog:
    """The messages of one run.

    Attributes:
        shown: False keeps standard error silent.
        warnings: the warnings of the training so far; part of its state.
        broken: True once log.txt could not be written.
    """

    folder: RunFolder
    shown: bool
    warnings: list[str]
    broken: bool = False

    def write(self, text: str) -> None:
        """Append a line to log.txt. If that fails, warn once: a run is worth more than its log."""
        if self.broken:
            return
        try:
            self.folder.append("log.txt", printable(text))
        except Error as error:
            self.broken = True
            self.warn(f"{error}; the run continues without log.txt")

    def note(self, text: str) -> None:
        """Log a detail; show it on a terminal only."""
        self.write(text)
        if self.shown and sys.stderr.isatty():
            say(text)

    def tell(self, text: str) -> None:
        """Log and show something that the person must know."""
        self.write(text)
        if self.shown:
            say(text)

    def warn(self, text: str) -> None:
        """Log and show a sign of trouble, and keep it for the report."""
        self.warnings.append(printable(text))
        self.tell(f"{WARNING}{text}")

    def all_warnings(self) -> list[str]:
        """The warnings about the configuration, from the head of config.yaml, and those of the training."""
        head = [text.removeprefix(WARNING) for text in self.folder.head if text.startswith(WARNING)]
        return [*head, *self.warnings]

    @contextmanager
    def logged(self) -> Iterator[None]:
        """Write the error that ends the run to log.txt; for an unexpected exception, the traceback too."""
        try:
            yield
        except Stopped as stopped:
            self.write(str(stopped))
            raise
        except Error as error:
            for problem in error.problems:
                self.write(f"error: {problem.what}; {problem.fix}")
            raise
        except Exception:
            for line in traceback.format_exc().splitlines():
                self.write(line)
            raise


class EpochBar:
    """A progress bar with epoch, losses, monitor, learning rate and time left; nothing without a terminal.

    Used as a context manager.
    """

    def __init__(self, epochs: int, monitor: str, shown: bool):
        self.monitor = monitor
        self._bar: Any = None
        if shown and sys.stderr.isatty():
            self._bar = _bar("epoch")
            self._task = self._bar.add_task("", total=epochs)

    def __enter__(self) -> "EpochBar":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *unused: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, epoch: Any, best_epoch: int) -> None:
        """Show one more epoch (`training.loop.Epoch`)."""
        if self._bar is None:
            return
        parts = [f"loss {number_text(epoch.train['loss'])}", f"val {number_text(epoch.val['loss'])}"]
        if self.monitor != "loss":
            parts.append(f"{self.monitor} {number_text(epoch.val[self.monitor])}")
        parts += [f"best @{best_epoch}", f"lr {epoch.lr:.2g}"]
        self._bar.update(self._task, completed=epoch.number, description=" ".join(parts))


@contextmanager
def item_bar(names: Sequence[str], shown: bool) -> Iterator[Callable[[str], None]]:
    """A progress bar over named items; yields a function to call with the name of each item as it begins."""
    if not (shown and sys.stderr.isatty()):
        yield lambda name: None
        return
    with _bar() as bar:
        task = bar.add_task("", total=len(names))
        yield lambda name: bar.update(task, completed=list(names).index(name), description=name)


def _bar(head: str = "") -> Any:
    """A bar of rich on standard error that vanishes at its end."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns: list[Any] = [TextColumn(head)] if head else []
    columns += [MofNCompleteColumn(), BarColumn(bar_width=16)]
    columns += [TextColumn("{task.description}", markup=False), TimeRemainingColumn(compact=True)]
    return Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=8)
