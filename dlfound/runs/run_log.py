"""What is said during a run: to the person, to log.txt, and the warnings to the report."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from dlfound.errors import Error, Stopped, printable
from dlfound.runs.folder import RunFolder
from dlfound.runs.progress import say

WARNING = "warning: "


@dataclass
class Journal:
    """Notes and warnings of one run."""

    folder: RunFolder
    shown: bool
    warnings: list[str] = field(default_factory=list)
    full: bool = False

    def write(self, text: str) -> None:
        """A line of log.txt, which is worth no run: where it cannot be written, that is told once."""
        try:
            if not self.full:
                self.folder.append("log.txt", printable(text))
        except Error as error:
            self.full = True
            self.warn(f"{error}; the run goes on without a log")

    def note(self, text: str) -> None:
        """Good to know: not worth a line where nobody watches."""
        self.write(text)
        if self.shown and sys.stderr.isatty():
            say(text)

    def tell(self, text: str) -> None:
        """What a person must know, but no fault of the run."""
        self.write(text)
        if self.shown:
            say(text)

    def all_warnings(self) -> list[str]:
        """Those of the configuration, which stand in its file's head, and those of the training."""
        head = [text.removeprefix(WARNING) for text in self.folder.head if text.startswith(WARNING)]
        return [*head, *self.warnings]

    def warn(self, text: str) -> None:
        """A sign of trouble."""
        self.warnings.append(printable(text))
        self.tell(f"{WARNING}{text}")

    @contextmanager
    def logged(self) -> Iterator[None]:
        """What ends the run before its end stands in log.txt too, until the run goes on; of a bug also where it is."""
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
