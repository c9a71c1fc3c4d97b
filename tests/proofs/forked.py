"""Child processes forked from one that has imported everything: they start quickly and may be killed."""

import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from dlfound.cli import main


def do_nothing() -> None:
    """Do nothing."""


def settle_threads(first_call: Callable[[], object]) -> None:
    """Make this process safe to fork: it computes with one thread and has no other.

    Args:
        first_call: something that forks; NumPy's library ends its threads at the first fork.

    Raises:
        SystemExit: a library keeps threads, which a child process would lack.
    """
    torch.set_num_threads(1)
    first_call()
    if len(os.listdir("/proc/self/task")) > 1:
        raise SystemExit("this process has threads: it is not safe to fork it")


def fork(call: Callable[[], int | None], log: Path = Path(os.devnull)) -> int:
    """Call a function in a child process; its result is the exit code. Returns the PID.

    Args:
        log: the file to which the child's output is appended.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if child := os.fork():
        return child
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background ignores it
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout = os.fdopen(1, "w", buffering=1, encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", closefd=False)
        code = call() or 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
        print(end, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def exit_code(child: int) -> int:
    """Wait for the end of a child process; returns its exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def begin(
    verb: str,
    words: Sequence[str],
    log: Path = Path(os.devnull),
    before: Callable[[], object] = do_nothing,
    after: Callable[[], object] = do_nothing,
) -> int:
    """Run a command of dlfound in a child process; returns the PID.

    Args:
        before, after: called in the child.
    """

    def command() -> int:
        sys.argv = ["dlfound", verb, *words]
        before()
        code = main([verb, *words])
        after()
        return code

    return fork(command, log)


def wait(child: int, seconds: float) -> int | None:
    """The exit code of a child process; None if it has not ended after `seconds` and was killed."""
    file = os.pidfd_open(child)
    try:
        if not select.select([file], [], [], seconds)[0]:
            os.kill(child, signal.SIGKILL)
        code = exit_code(child)
    finally:
        os.close(file)
    return None if code == -signal.SIGKILL else code
