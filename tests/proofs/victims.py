"""Two ways to train in a process that is killed: forked from a warm process, or started like any command."""

import mmap
import os
import random
import select
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dlfound.runs import checkpoints, train
from dlfound.runs.checkpoints import Checkpoints
from dlfound.runs.folder import CONFIG
from dlfound.runs.parts import Training
from dlfound.runs.record import Observer
from proofs.forked import begin, do_nothing, settle_threads, wait

REACH = 0.8  # of the time of a whole run: it is killed before
# Of ten kills: at any time, or soon after one of these began.
AIMS = {"": 5, "start": 1, "checkpoint": 2, "finishing": 2}
SOON = {"start": 0.05, "checkpoint": 0.02, "finishing": 0.08}  # of the time of a whole run
TIMEOUT = 120.0  # seconds of a run that is not killed
PHASES = ("start", "resume", "epoch", "checkpoint", "finishing")

Before = Callable[[], None]


class Forked:
    """`dlfound train` in a child of this process, which tells where it is in two bytes of shared memory."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 2)  # the phase, and the epoch
        self._aim = ""
        self._read = -1
        self._write = -1

    def warm(self) -> None:
        """Make this process safe to fork, and checkpoints as frequent as they can be."""
        checkpoints.SOONEST = 0.004
        checkpoints.SHARE = 1
        settle_threads(lambda: wait(begin("train", ["--cfg"]), TIMEOUT))
        self._follow()

    def attempt(
        self, words: Sequence[str], run: Path, seconds: float, draw: random.Random, before: Before
    ) -> int | None:
        """Run the command and kill it at a random moment; the exit code, None if it was killed.

        Args:
            seconds: the time of a whole run.
            before: called in the child first.
        """
        self._aim = draw.choices(list(AIMS), list(AIMS.values()))[0]
        if self._aim in ("", "start"):
            reach = SOON.get(self._aim, REACH)
            return wait(self.begin(words, run, before), draw.uniform(0, reach * seconds))
        self._read, self._write = os.pipe()
        child = self.begin(words, run, before)
        for _ in range(draw.randrange(1, 6) if self._aim == "checkpoint" else 1):
            if not self._reaches_aim(child):
                break
        code = wait(child, draw.uniform(0, SOON[self._aim] * seconds))
        os.close(self._read)
        os.close(self._write)
        self._aim = ""
        return code

    def _reaches_aim(self, child: int) -> bool:
        """Wait until the child begins what is aimed at; False if it ends before."""
        file = os.pidfd_open(child)
        ready = select.select([file, self._read], [], [], TIMEOUT)[0]
        os.close(file)
        return self._read in ready and len(os.read(self._read, 1)) == 1

    def begin(self, words: Sequence[str], run: Path, before: Before = do_nothing) -> int:
        """Start the command; returns the PID."""
        self._shared[:] = bytes([PHASES.index(_first_phase(run)), 0])
        return begin("train", words, before=before)

    def place(self, run: Path) -> str:
        """Where the command was killed."""
        phase, epoch = self._shared[:]
        return f"epoch {epoch}" if PHASES[phase] == "epoch" else PHASES[phase]

    def _follow(self) -> None:
        """Make every training of a child tell where it is."""
        start = Observer.start
        advance = Training.advance
        measure_best = train.measure_best
        save = Checkpoints.save

        def start_and_tell(observer: Observer) -> None:
            self._tell("epoch", observer.state.progress.epoch)
            start(observer)

        def advance_and_tell(training: Training, event: Any) -> None:
            advance(training, event)
            self._tell("epoch", training.state.progress.epoch)

        def measure_and_tell(*args: Any) -> Any:
            self._tell("finishing")
            return measure_best(*args)

        def save_and_tell(store: Checkpoints, *args: Any) -> None:
            before = self._shared[0]
            self._tell("checkpoint")
            save(store, *args)
            self._shared[0] = before

        Observer.start = start_and_tell
        Training.advance = advance_and_tell
        train.measure_best = measure_and_tell
        Checkpoints.save = save_and_tell

    def _tell(self, phase: str, epoch: int | None = None) -> None:
        self._shared[0] = PHASES.index(phase)
        if epoch is not None:
            self._shared[1] = min(epoch, 255)
        if phase == self._aim:
            os.write(self._write, b".")


class Real:
    """`python -m dlfound train`."""

    def __init__(self) -> None:
        self._first_phase = ""
        self._stored: list[str] = []

    def attempt(
        self, words: Sequence[str], run: Path, seconds: float, draw: random.Random, before: Before
    ) -> int | None:
        """Run the command and kill it at a random moment; the exit code, None if it was killed."""
        return wait(self.begin(words, run), draw.uniform(0, REACH * seconds))

    def begin(self, words: Sequence[str], run: Path, before: Before = do_nothing) -> int:
        """Start the command; returns the PID."""
        self._first_phase = _first_phase(run)
        self._stored = _stored(run)
        command = [sys.executable, "-m", "dlfound", "train", *words]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid

    def place(self, run: Path) -> str:
        """Where the command was killed, as far as its newest checkpoint tells."""
        checkpoint = Checkpoints(run).newest()[0] if _stored(run) else None
        if checkpoint is None or _stored(run) == self._stored:
            return self._first_phase
        state = checkpoint.state
        return "finishing" if state["ended"] else f"epoch {state['progress']['epoch']}"


Way = Forked | Real


def _first_phase(run: Path) -> str:
    return "resume" if (run / CONFIG).exists() else "start"


def _stored(run: Path) -> list[str]:
    return sorted(path.name for path in Checkpoints(run).path.glob("step-*"))
