"""What can go wrong, in words for a person: one sentence on what is wrong, one on what to do."""

from dataclasses import dataclass
from enum import IntEnum


class Code(IntEnum):
    """Exit codes of the command; also `Error.code` from Python."""

    DONE = 0
    BUG = 1
    CONFIG = 2
    DATA = 3
    RUN = 4
    NUMERIC = 5
    RESOURCES = 6
    UNSAFE = 7


@dataclass(frozen=True)
class Problem:
    """One mistake: `what` is wrong (with file, line or key) and the `fix` to try."""

    what: str
    fix: str


class Error(Exception):
    """A failure that a person can act on.

    Args:
        what: what is wrong, naming the file, line or key.
        fix: what to do about it.
        code: the exit code that the command ends with.
    """

    def __init__(self, what: str, fix: str, code: Code):
        super().__init__(what)
        self.code = code
        self.problems = [Problem(what, fix)]

    @classmethod
    def of(cls, problems: list[Problem], code: Code) -> "Error":
        """One error that tells several problems at once."""
        error = cls("\n".join(p.what for p in problems), "", code)
        error.problems = list(problems)
        return error


class Stopped(Exception):
    """The command was asked to end and has kept what it had; `code` is the exit code."""

    def __init__(self, text: str, code: int):
        super().__init__(text)
        self.code = code


def printable(text: object) -> str:
    """The text with control characters escaped, so that a name from a file cannot write to the terminal."""
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
