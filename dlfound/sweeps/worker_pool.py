"""Run the workers of a sweep: fork them, listen to their messages, and replace those that are killed.

The parent process computes nothing and holds no connection to a storage, so it can fork safely at any time.
Each worker sends its messages as JSON through a pipe of its own.
"""

import json
import multiprocessing
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from dlfound.errors import Code, Error, Problem, printable
from dlfound.terminal import SIGNAL_CODES

FORK = multiprocessing.get_context("fork")
POLL_INTERVAL = 0.2  # seconds
GRACE_PERIOD = 10.0  # seconds until a worker that was asked to stop is killed
MAX_KILLED = 20  # workers in a row, without a trial that ended in between
Message = dict[str, Any]
Send = Callable[[Message], None]
Listen = Callable[[int, Message], None]


@dataclass
class WorkerPool:
    """A number of worker processes, which end by themselves when no work is left.

    Args:
        target: the work of a process: takes a function that sends a message, returns the exit code.
        log: the file for everything that the workers print.
        listen: receives the index of a worker (0, 1, ...) and its message.
        refresh: called several times per second.
        stop: true once the workers should stop.
    """

    count: int
    target: Callable[[Send], int]
    log: Path
    listen: Listen
    refresh: Callable[[], None] = lambda: None
    stop: Callable[[], bool] = lambda: False
    _workers: dict[int, "_Worker"] = field(default_factory=dict, init=False)
    _failure: Error | None = field(default=None, init=False)
    _killed: int = field(default=0, init=False)
    _stop_requested_at: float | None = field(default=None, init=False)  # when the workers were asked to stop

    def run(self) -> None:
        """Run the workers until the last one has ended.

        Raises:
            Error: that ended a worker and would end every other one; or too many were killed (code 6).
        """
        try:
            for index in range(self.count):
                self._start(index)
            while self._workers:
                self._turn()
        finally:
            for worker in self._workers.values():
                worker.process.kill()
                worker.join()
        if self._failure is not None:
            raise self._failure

    def _start(self, index: int) -> None:
        siblings = [worker.read_end for worker in self._workers.values()]
        self._workers[index] = _Worker(self.target, self.log, siblings)

    def _turn(self) -> None:
        ready = wait([worker.read_end for worker in self._workers.values()], POLL_INTERVAL)
        for index, worker in list(self._workers.items()):
            if worker.read_end in ready:
                self._handle(index, worker.receive())
        if self._failure is not None or self.stop():
            self._ask_to_stop()
        self.refresh()

    def _handle(self, index: int, message: Message | None) -> None:
        if message is None:
            return self._bury(index)
        if message["kind"] == "fatal" and self._failure is None:
            problems = [Problem(**problem) for problem in message["problems"]]
            self._failure = Error.of(problems, Code(message["code"]))
        elif message["kind"] == "end":
            self._killed = 0
        self.listen(index, message)

    def _ask_to_stop(self) -> None:
        """Send SIGTERM, which lets each worker finish its step; after the grace period, SIGKILL."""
        now = time.monotonic()
        if self._stop_requested_at is None:
            self._stop_requested_at = now
            for worker in self._workers.values():
                worker.process.terminate()
        elif now - self._stop_requested_at > GRACE_PERIOD:
            for worker in self._workers.values():
                worker.process.kill()

    def _bury(self, index: int) -> None:
        """Remove a worker that has ended; start another one if it was killed."""
        code = self._workers.pop(index).join()
        if code == Code.BUG and self._failure is None:
            fix = f"{self.log} may contain the reason"
            self._failure = Error(f"a worker ended with exit code {code}", fix, Code.BUG)
        if code >= 0 or self._stop_requested_at is not None or self.stop():
            return
        self._killed += 1
        name = signal.Signals(-code).name
        if self._killed > MAX_KILLED:
            message = f"{self._killed} workers in a row were killed ({name}), perhaps for lack of memory"
            self._failure = Error(message, "use fewer search.workers, or smaller models", Code.RESOURCES)
            return
        self.listen(index, {"kind": "killed", "signal": name})
        self._start(index)


class _Worker:
    """A forked process and the pipe that its messages arrive through."""

    def __init__(self, target: Callable[[Send], int], log: Path, siblings: Sequence[Connection]):
        self.read_end, write_end = FORK.Pipe(duplex=False)
        inherited = [self.read_end, *siblings]
        self.process = FORK.Process(target=_run, args=(target, log, inherited, write_end))
        with warnings.catch_warnings():
            # Python warns of threads in a fork. Here only NumPy's library has some, and it survives a fork.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.process.start()
        write_end.close()

    def receive(self) -> Message | None:
        """Read the next message; None once the process has ended, perhaps in the middle of a message."""
        try:
            return json.loads(self.read_end.recv_bytes())
        except (EOFError, OSError):
            return None

    def join(self) -> int:
        """Wait for the end of the process; returns its exit code, or minus the signal that killed it."""
        self.read_end.close()
        self.process.join()
        code = self.process.exitcode
        assert code is not None
        return code


def _run(
    target: Callable[[Send], int], log: Path, inherited: Sequence[Connection], write_end: Connection
) -> None:
    """Do the work of a worker, in its own process; an exception becomes a message that ends the sweep."""
    for connection in inherited:  # with these closed, a write fails once the parent process is gone
        connection.close()
    for number in SIGNAL_CODES:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)

    def send(message: Message) -> None:
        with suppress(BrokenPipeError):  # the parent process is gone; `WorkerStop` notices that
            write_end.send_bytes(json.dumps(message).encode())

    try:
        _redirect_output(log)
        sys.exit(int(target(send)))
    except Error as error:
        failure = error
    except Exception as error:
        traceback.print_exc()
        first_line = printable(str(error).partition("\n")[0])
        message = f"{type(error).__name__}: {first_line}"
        failure = Error(message, f"this is a bug in dlfound; {log} has the traceback", Code.BUG)
    problems = [asdict(problem) for problem in failure.problems]
    send({"kind": "fatal", "code": int(failure.code), "problems": problems})
    sys.exit(int(failure.code))


def _redirect_output(log: Path) -> None:
    """Append everything that this process prints to the log."""
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        message = f"cannot write to {log}: {error.strerror}"
        raise Error(message, "free some space, or choose another run.dir", Code.RESOURCES) from None
    os.dup2(file, 1)
    os.dup2(file, 2)
