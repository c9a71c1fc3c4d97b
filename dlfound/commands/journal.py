"""What is said during a run: to the person, to log.txt, and the warnings to the report."""

import sys
from dataclasses import dataclass, field

from dlfound.commands.progress import say
from dlfound.runs.folder import RunFolder


@dataclass
class Journal:
    """Notes and warnings of one run."""

    folder: RunFolder
    shown: bool
    warnings: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Good to know: not worth a line where nobody watches."""
        self.folder.append("log.txt", text)
        if self.shown and sys.stderr.isatty():
            say(text)

    def tell(self, text: str) -> None:
        """What a person must know, but no fault of the run."""
        self.folder.append("log.txt", text)
        if self.shown:
            say(text)

    def warn(self, text: str) -> None:
        """A sign of trouble."""
        self.warnings.append(text)
        self.tell(f"warning: {text}")
