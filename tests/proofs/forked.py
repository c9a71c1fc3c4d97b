"""The command in a child of a process that has read everything in: the start costs no time, and it may be killed."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dlfound.cli import main


def begin(
    verb: str, words: Sequence[str], said: Path = Path(os.devnull), before: Callable[[], None] | None = None
) -> int:
    """The child's number.

    Args:
        said: a file to which what it says is added.
        before: called in the child first.
    """
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream, place in enumerate((nowhere, nowhere, file)):
            os.dup2(place, stream)
        sys.argv = ["dlfound", verb, *words]
        if before is not None:
            before()
        code = main([verb, *words])
    finally:
        os._exit(code)
