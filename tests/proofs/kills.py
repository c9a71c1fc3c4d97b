"""Kill runs at random moments, go on with them, and compare what they end with, bit for bit, with runs never killed.

python tests/proofs/kills.py --kills 1000      forked from one warm process: the start costs no time
python tests/proofs/kills.py --real 60         `python -m dlfound train`, killed while it imports too
python tests/proofs/kills.py --mutate          what if a resume forgot something? Each thing must be noticed
"""

import os

os.environ |= {
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}  # a fork must be safe

import argparse
import io
import mmap
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import same
import torch
from forgotten import AROUND, TIMES, forget, things_in
from forked import begin

from dlfound.cli import main
from dlfound.runs import state as session
from dlfound.runs.checkpoints import Checkpoints
from dlfound.runs.folder import CONFIG
from dlfound.runs.state import Session

REACH = 0.8  # of a whole run's time: until then it is killed
AIMS = {
    "": 6,
    "checkpoint": 2,
    "finishing": 2,
}  # of ten kills so many at any time, so many right after one began
SOON = {"checkpoint": 0.02, "finishing": 0.08}  # of a whole run's time: how long after it began
MOST = 200  # kills of one run; it counts as lost then
PATIENCE = 20  # kills of one run after which it gets twice the time: the machine may have become slower
UNHARMED = 120.0  # seconds that a run may take where nobody kills it

KINDS = {
    "adam": """data=spirals data.rows=300 model.hidden=[16,8] batchnorm=batch dropout=standard dropout.hidden=0.2
        optim=adam optim.lr=0.03 lr_decay=plateau lr_decay.patience=2 early_stopping.look_ahead=5 train.epochs=40
        train.batch_size=16""",
    "momentum": """data=sine data.rows=200 model.hidden=[12] activation=tanh dropout=gaussian dropout.hidden=0.1
        optim=momentum lr_decay=step lr_decay.step_size=3 early_stopping.look_ahead=11 train.epochs=12
        train.batch_size=16 train.checkpoint=1""",
    "muon": """data=moons data.rows=300 model.hidden=[8,8] batchnorm=layer dropout=standard dropout.hidden=0.2
        optim=muon lr_decay=cosine early_stopping=none train.epochs=12 train.batch_size=16 logger=none""",
    "lbfgs": """data=circles data.rows=200 model.hidden=[8] activation=tanh optim=lbfgs regularizer=l2 lr_decay=none
        early_stopping=none train.epochs=40 train.checkpoint=2 logger=none""",
    "steep": """data=moons data.rows=200 model.hidden=[8] initializer=normal initializer.std=0.1 optim=sgd optim.lr=0.05
        lr_decay=one_cycle lr_decay.max_lr=10 lr_decay.warmup=6 early_stopping=none train.epochs=24
        train.batch_size=16 train.checkpoint=6 logger=none""",
}
LONGER = {  # for real processes, which are two seconds old when they begin to train
    "adam": KINDS["adam"].replace("data.rows=300", "data.rows=1500 train.checkpoint=1"),
    "momentum": KINDS["momentum"].replace("train.epochs=12", "train.epochs=80"),
}
WARNS = (
    "steep",
)  # says something between two checkpoints: of the others log.txt is as long as at the last one
Before = Callable[[], None] | None
PHASES = ("start", "resume", "epoch", "checkpoint", "finishing")


# ---- a process that trains until it ends or is killed


class Forked:
    """The command in a child of this process, silent. In a few bytes that both share it says where it is."""

    def __init__(self) -> None:
        self._shared, self._aim = mmap.mmap(-1, 2), ""

    def warm(self, folder: Path) -> None:
        """Import everything, train everything once, and make checkpoints as frequent as they can be."""
        torch.set_num_threads(1)
        session.SOONEST, session.SHARE = 0.004, 1
        for name, words in KINDS.items():
            with redirect_stdout(io.StringIO()), redirect_stderr(sys.stdout):
                code = main(["train", *words.split(), f"run.dir={folder / 'warm' / name}"])
            if code != 0:
                raise SystemExit(f"{name}: training ends with {code}")
        wait(
            self.begin(["--cfg"], folder, None), UNHARMED
        )  # at its first fork NumPy's library ends its threads
        if len(os.listdir("/proc/self/task")) > 1:
            raise SystemExit("this process has threads: a fork of it is not safe")
        self._watch()

    def attempt(
        self, words: list[str], run: Path, seconds: float, draw: random.Random, before: Before
    ) -> int | None:
        """The command, killed at a random moment; its exit code where it ended before.

        Args:
            seconds: that a whole run takes.
            before: called in the child first.
        """
        self._aim = draw.choices(list(AIMS), list(AIMS.values()))[0]
        if not self._aim:
            return wait(self.begin(words, run, before), draw.uniform(0, REACH * seconds))
        self._read, self._write = os.pipe()
        child, times = (
            self.begin(words, run, before),
            draw.randrange(1, 6) if self._aim == "checkpoint" else 1,
        )
        for _ in range(times):
            if not self._said(child):
                break
        code = wait(child, draw.uniform(0, SOON[self._aim] * seconds))
        os.close(self._read)
        os.close(self._write)
        self._aim = ""
        return code

    def _said(self, child: int) -> bool:
        """Wait until the child begins what is aimed at; false where it ends before."""
        watched = os.pidfd_open(child)
        ready = select.select([watched, self._read], [], [], UNHARMED)[0]
        os.close(watched)
        return self._read in ready and len(os.read(self._read, 1)) == 1

    def begin(self, words: list[str], run: Path, before: Before) -> int:
        """Its number."""
        self._shared[:] = bytes([PHASES.index(_beginning(run)), 0])
        return begin("train", words, before=before)

    def place(self, run: Path) -> str:
        """Where it was killed."""
        phase, epoch = self._shared[:]
        return f"epoch {epoch}" if PHASES[phase] == "epoch" else PHASES[phase]

    def _watch(self) -> None:
        """From now on each session says what it does."""
        Session._epochs = self._saying(Session._epochs, "epoch")
        Session._after = self._saying(Session._after, "epoch")
        Session._finish = self._saying(Session._finish, "finishing")
        Checkpoints.save = self._saying(Checkpoints.save, "checkpoint")

    def _saying(self, function: Callable, phase: str) -> Callable:
        def wrapped(owner: Any, *args: Any) -> Any:
            before, self._shared[0] = self._shared[0], PHASES.index(phase)
            if phase == self._aim:
                os.write(self._write, b".")
            if isinstance(owner, Session):
                self._shared[1] = min(owner.place.epoch, 255)
            result = function(owner, *args)
            self._shared[0] = before if phase == "checkpoint" else self._shared[0]
            return result

        return wrapped


class Real:
    """The command as a person starts it."""

    def attempt(
        self, words: list[str], run: Path, seconds: float, draw: random.Random, before: Before
    ) -> int | None:
        """As `Forked.attempt`, at any time."""
        return wait(self.begin(words, run, before), draw.uniform(0, REACH * seconds))

    def begin(self, words: list[str], run: Path, before: Before) -> int:
        """Its number."""
        self._first, self._stored = _beginning(run), _stored(run)
        command = [sys.executable, "-m", "dlfound", "train", *words]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid

    def place(self, run: Path) -> str:
        """Where it was killed, as far as its newest checkpoint says."""
        kept = Checkpoints(run).newest()[0] if _stored(run) else None
        if kept is None or _stored(run) == self._stored:
            return self._first
        return "finishing" if kept.state["ended"] else f"epoch {kept.state['epoch']}"


def _beginning(run: Path) -> str:
    return "resume" if (run / CONFIG).exists() else "start"


def _stored(run: Path) -> list[str]:
    return sorted(path.name for path in Checkpoints(run).path.glob("step-*"))


Way = Forked | Real


def wait(child: int, seconds: float) -> int | None:
    """Its exit code if it ends within so many seconds; else it is killed, and None."""
    watched = os.pidfd_open(child)
    try:
        if not select.select([watched], [], [], seconds)[0]:
            os.kill(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        os.close(watched)
    return None if code == -signal.SIGKILL else code


# ---- a run that is killed again and again


@dataclass
class Kind:
    """A configuration, what it ends with where nobody kills it, and how long that takes."""

    name: str
    words: list[str]
    seconds: float
    unbroken: dict[str, Any]


@dataclass
class Figures:
    """What is counted."""

    kills: int = 0
    runs: int = 0
    lost: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    places: Counter[str] = field(default_factory=Counter)

    def shown(self) -> str:
        """A line of numbers, one of places, and one for each run that is not as it should be."""
        counts = (
            f"{self.kills} kills, {self.runs} runs, {len(self.lost)} lost, {len(self.different)} different"
        )
        places = ", ".join(f"{place} {self.places[place]}" for place in sorted(self.places, key=_order))
        return "\n  ".join([counts, f"killed in: {places}", *self.lost, *self.different])


def _order(place: str) -> tuple[int, int]:
    word, _, number = place.partition(" ")
    return PHASES.index(word), int(number or 0)


def measure(name: str, text: str, way: Way, folder: Path, times: int) -> Kind:
    """Train without kills; it must end with the same each time."""
    words, seconds, found = [*text.split(), "run.threads=1", "run.device=cpu"], [], []
    for i in range(times):
        run, began = folder / f"{name}-unbroken-{i}", time.perf_counter()
        code = wait(way.begin([*words, f"run.dir={run}"], run, None), UNHARMED)
        seconds.append(time.perf_counter() - began)
        if code != 0:
            raise SystemExit(f"{name}: a run that nobody kills ends with {code}")
        found.append(same.left_by(run))
    if wrong := {thing for other in found[1:] for thing in same.differences(found[0], other)}:
        raise SystemExit(f"{name}: runs that nobody kills differ in {', '.join(sorted(wrong))}")
    return Kind(name, words, min(seconds), found[0])


def kill_run(
    kind: Kind, run: Path, way: Way, draw: random.Random, figures: Figures, before: Before = None
) -> list[str]:
    """Kill one run until it ends; returns what is wrong with it then."""
    code = None
    for attempt in range(MOST):
        named = _beginning(run) == "resume" and draw.random() < 0.5
        words = [f"resume={run}"] if named else [*kind.words, f"run.dir={run}"]
        code = way.attempt(words, run, kind.seconds * (1 + attempt / PATIENCE), draw, before)
        if code is not None:
            break
        figures.kills += 1
        figures.places[way.place(run)] += 1
    figures.runs += 1
    return [f"exit {code}"] if code != 0 else same.differences(kind.unbroken, same.left_by(run))


def prove(kinds: list[Kind], kills: int, way: Way, folder: Path, draw: random.Random) -> Figures:
    """Kill runs of all kinds in turn, so many times in all; what goes wrong is kept."""
    figures = Figures()
    while figures.kills < kills:
        kind = kinds[figures.runs % len(kinds)]
        run = folder / f"{kind.name}-{figures.runs}"
        wrong = kill_run(kind, run, way, draw, figures)
        if not wrong:
            shutil.rmtree(run)
        else:
            group = figures.lost if wrong[0].startswith("exit") else figures.different
            group.append(f"{run}: {', '.join(wrong)}")
    return figures


# ---- what a kill test must notice


def things(kinds: list[Kind], folder: Path) -> dict[str, list[Kind]]:
    """All that a resume could forget -> the kinds of runs that have it."""
    found: dict[str, list[Kind]] = {}
    for kind in kinds:
        kept, _ = Checkpoints(folder / f"{kind.name}-unbroken-0").newest()
        names = [*things_in(kept), *AROUND]
        if not any(
            word.startswith("train.checkpoint=") for word in kind.words
        ):  # then also in the middle of an epoch
            names += ["tensor norms", "tensor outputs"]
        for name in names:
            if name != "files.log.txt" or kind.name in WARNS:
                found.setdefault(name, []).append(kind)
    return found


def notice(
    thing: str, kinds: list[Kind], most: int, way: Way, folder: Path, draw: random.Random
) -> tuple[int, list[str]]:
    """Kill runs that forget one thing until it shows; returns after how many kills, and what showed."""
    figures, wrong = Figures(), []
    while not wrong and figures.kills < most:
        kind = kinds[figures.runs % len(kinds)]
        wrong = kill_run(kind, folder / "forgetful", way, draw, figures, forget(thing))
        shutil.rmtree(folder / "forgetful", ignore_errors=True)
    return figures.kills, wrong


def mutate(
    kinds: list[Kind], wanted: list[str], most: int, way: Way, folder: Path, draw: random.Random
) -> bool:
    """Forget one thing after the other; true where each is noticed."""
    found, good = things(kinds, folder), True
    if unknown := set(wanted) - set(found):
        raise SystemExit(
            f"nothing is called {', '.join(sorted(unknown))}; there is: {', '.join(sorted(found))}"
        )
    for thing in wanted or sorted(found):
        if thing in TIMES:
            print(f"{thing}: a time, nothing else follows from it", flush=True)
            continue
        kills, wrong = notice(thing, found[thing], most, way, folder, draw)
        good = good and bool(wrong)
        told = (
            f"noticed after {kills} kills: {', '.join(wrong)}" if wrong else f"NOT NOTICED in {kills} kills"
        )
        print(f"{thing}: {told}", flush=True)
    return good


def kinds_of(texts: dict[str, str], way: Way, folder: Path, times: int) -> list[Kind]:
    """All kinds, measured."""
    kinds = [measure(name, text, way, folder, times) for name, text in texts.items()]
    print("unbroken: " + ", ".join(f"{kind.name} {kind.seconds:.2f} s" for kind in kinds), flush=True)
    return kinds


def command() -> int:
    """The script's exit code: 0 where nothing is lost, nothing differs, and all is noticed that should be."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=0, help="of forked runs")
    parser.add_argument("--real", type=int, default=0, help="of real processes")
    parser.add_argument("--mutate", nargs="*", metavar="THING", help="forget these, or each in turn")
    parser.add_argument(
        "--most", type=int, default=200, help="kills in which what is forgotten must be noticed"
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    draw, good, began = random.Random(args.seed), True, time.perf_counter()
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    print(f"seed {args.seed}; what differs is kept in {folder}", flush=True)
    shown: list[tuple[str, Figures]] = []
    if args.kills or args.mutate is not None:
        way = Forked()
        way.warm(folder)
        kinds = kinds_of(KINDS, way, folder, 2)
        shown.append(("forked", prove(kinds, args.kills, way, folder, draw)))
        if args.mutate is not None:
            good = mutate(kinds, args.mutate, args.most, way, folder, draw)
    if args.real:
        kinds = kinds_of(LONGER, Real(), folder / "real", 1)
        shown.append(("real processes", prove(kinds, args.real, Real(), folder / "real", draw)))
    for what, figures in shown:
        if figures.kills:
            print(f"{what}: {figures.shown()}")
        good = good and not figures.lost and not figures.different
    print(f"{time.perf_counter() - began:.0f} s")
    if good:
        shutil.rmtree(folder)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(command())
