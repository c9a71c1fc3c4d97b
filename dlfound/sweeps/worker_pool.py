"""The workers of a sweep, and who watches over them: forks, hears what they say, replaces those that die.

The watcher computes nothing and holds no connection, so that a fork of it is safe at any time.
"""

import json
import os
import selectors
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dlfound.errors import Code, Error, Problem
from dlfound.terminal import SIGNAL_CODES as CODES
from dlfound.terminal import Stop

LOG = "workers.log"  # what nobody should have said
TICK = 0.2  # seconds between two looks where nothing happens
LONGEST = 10.0  # seconds that a worker has to end in, once it was asked to
DEATHS = 20  # of processes in a row, with no trial ended in between
Hear = Callable[[int, dict[str, Any]], None]


class Child:
    """A process forked from this one, and what it says.

    Args:
        life: called in it with a function that sends; returns its exit code.
        log: a file for what it prints.
        others: the ears for other children, which it must not keep open: who writes to nobody should notice.
    """

    def __init__(
        self, life: Callable[[Callable[[dict[str, Any]], None]], int], log: Path, others: Sequence[int] = ()
    ):
        sys.stdout.flush()
        sys.stderr.flush()
        self.ears, mouth = os.pipe()
        self._heard = b""
        with (
            warnings.catch_warnings()
        ):  # the threads are those of NumPy's library, which mends itself in a fork
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            _live(life, log, [self.ears, *others], mouth)
        os.close(mouth)

    def hear(self) -> list[dict[str, Any]] | None:
        """What it said since; None once it is gone."""
        said = os.read(self.ears, 1 << 16)
        *lines, self._heard = (self._heard + said).split(b"\n")
        if not said and not lines:
            return None
        return [json.loads(line) for line in lines]

    def end(self) -> int:
        """Its exit code, or minus the signal that ended it."""
        os.close(self.ears)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def signal(self, number: int) -> None:
        """Send it a signal, if it still lives."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)


def _live(life: Callable, log: Path, ears: Sequence[int], mouth: int) -> None:
    """All that a child does; it never returns."""
    code = int(Code.BUG)
    try:
        for ear in ears:
            os.close(ear)
        for number in CODES:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        nowhere = os.open(os.devnull, os.O_RDWR)
        said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666)
        for stream, file in ((0, nowhere), (1, said), (2, said)):
            os.dup2(file, stream)

        def send(message: dict[str, Any]) -> None:
            content = json.dumps(message).encode() + b"\n"
            while content:
                content = content[os.write(mouth, content) :]

        code = life(send)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def call(life: Callable[[Callable[[dict[str, Any]], None]], None], log: Path, hear: Hear) -> None:
    """Do something in a child, and wait for it.

    Raises:
        Error: as it did.
    """

    def lived(send: Callable[[dict[str, Any]], None]) -> int:
        try:
            life(send)
        except Error as error:
            send(
                {
                    "kind": "fatal",
                    "code": int(error.code),
                    "problems": [[p.what, p.fix] for p in error.problems],
                }
            )
        return 0

    for _ in range(DEATHS):
        child, failure = Child(lived, log), None
        while (messages := child.hear()) is not None:
            for message in messages:
                failure = _failure(message) or failure
                hear(0, message)
        code = child.end()
        if failure is not None:
            raise failure
        if code >= 0:  # else it was killed, and may have been in the middle of it
            break
    if code:
        raise Error(f"a process of the sweep ended with {code}", f"{log} may say why", Code.BUG)


def _failure(message: dict[str, Any]) -> Error | None:
    if message["kind"] != "fatal":
        return None
    return Error.of([Problem(*problem) for problem in message["problems"]], Code(message["code"]))


class Team:
    """So many workers, until all of them find nothing left to do.

    Args:
        life: a worker's, as `Child` takes it.
        hear: told each worker's place (0, 1, ...) and message.
        look: called again and again.
    """

    def __init__(
        self, count: int, life: Callable, log: Path, hear: Hear, look: Callable[[], None], stop: Stop
    ):
        self.count, self.life, self.log, self.hear, self.look, self.stop = count, life, log, hear, look, stop
        self._children: dict[int, Child] = {}
        self._selector = selectors.DefaultSelector()
        self._failure: Error | None = None
        self._deaths, self._asked = 0, 0.0

    def run(self) -> None:
        """Raises:
        Error: what ended a worker, and would end all.
        """
        try:
            for place in range(self.count):
                self._begin(place)
            while self._children:
                self._turn()
        finally:
            for child in self._children.values():
                child.signal(signal.SIGKILL)
            for place in list(self._children):
                self._bury(place)
        if self._failure is not None:
            raise self._failure

    def _begin(self, place: int) -> None:
        child = Child(self.life, self.log, [other.ears for other in self._children.values()])
        self._children[place] = child
        self._selector.register(child.ears, selectors.EVENT_READ, place)

    def _turn(self) -> None:
        for key, _ in self._selector.select(TICK):
            place = key.data
            messages = self._children[place].hear()
            if messages is None:
                self._lose(place)
                continue
            for message in messages:
                self._deaths = 0 if message["kind"] == "end" else self._deaths
                self._failure = self._failure or _failure(message)
                self.hear(place, message)
        if self._failure is not None or self.stop():
            self._ask()
        self.look()

    def _ask(self) -> None:
        """Ask all to end: first in words that they finish a step after, then in those that nobody survives."""
        now = time.monotonic()
        if not self._asked:
            self._asked = now
            for child in self._children.values():
                child.signal(signal.SIGTERM)
        elif now - self._asked > LONGEST:
            for child in self._children.values():
                child.signal(signal.SIGKILL)

    def _bury(self, place: int) -> int:
        child = self._children.pop(place)
        self._selector.unregister(child.ears)
        return child.end()

    def _lose(self, place: int) -> None:
        """A worker is gone: where it was killed, another one takes its place."""
        code = self._bury(place)
        if code >= 0 or self._asked or self.stop():
            return
        self._deaths += 1
        name = signal.Signals(-code).name
        if self._deaths > DEATHS:
            what = f"{self._deaths} workers in a row were killed ({name})"
            self._failure = Error(
                what, "too little memory? fewer search.workers, smaller nets", Code.RESOURCES
            )
            return
        self.hear(place, {"kind": "lost", "signal": name})
        self._begin(place)
