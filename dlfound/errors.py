"""Errors that a person can act on: what is wrong, how to fix it, and the exit code."""

from dataclasses import dataclass
from enum import IntEnum


class Code(IntEnum):
    """Exit codes of the command line; in Python, `Error.code`."""

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
    """One mistake.

    Attributes:
        what: the problem, with its file, line or key.
        fix: what to do about it.
    """

    what: str
    fix: str


class Error(Exception):
    """A failure that a person can act on; the command line prints it as two lines, without a traceback.

    Args:
        what: the problem, with its file, line or key.
        fix: what to do about it.
        code: the exit code of the command.
    """

    def __init__(self, what: str, fix: str, code: Code):
        super().__init__(what)
        self.code = code
        self.problems = [Problem(what, fix)]

    @classmethod
    def of(cls, problems: list[Problem], code: Code) -> "Error":
        """Make one error that reports several problems at once."""
        error = cls("\n".join(problem.what for problem in problems), "", code)
        error.problems = list(problems)
        return error


class Stopped(Exception):
    """The command was asked to stop and has saved its work; `code` is the exit code."""

    def __init__(self, text: str, code: int):
        super().__init__(text)
        self.code = code


def printable(text: object) -> str:
    """Escape control characters, so that a name from a file cannot control the terminal."""
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
