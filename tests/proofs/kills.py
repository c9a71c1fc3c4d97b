"""Kill runs at random moments, resume them, and compare all bits with undisturbed runs.

python tests/proofs kills --kills 1000      forked from one warm process, so that they start at once
python tests/proofs kills --real 60         `python -m dlfound train`, also killed while it imports
python tests/proofs kills --mutate          lets a resume forget one thing at a time: each must be noticed
"""

import argparse
import io
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

from dlfound.cli import main as dlfound
from dlfound.runs.checkpoints import Checkpoints
from dlfound.runs.folder import CONFIG
from dlfound.runs.state import TrainState
from proofs.forgotten import AROUND, PROGRESS, TIMES, fields_of, forget
from proofs.forked import do_nothing, wait
from proofs.same import differences, left_by
from proofs.victims import PHASES, TIMEOUT, Before, Forked, Real, Way

MAX_KILLS = 200  # of one run, which counts as lost then
SLOWER = 20  # kills of one run after which it gets twice the time: the machine may have become slower

KINDS = {
    "adam": """
        data=spirals data.rows=300 model.hidden=[16,8] batchnorm=batch dropout=standard dropout.hidden=0.2
        optim=adam optim.lr=0.03 lr_decay=plateau lr_decay.patience=2 early_stopping.look_ahead=5
        train.epochs=40 train.batch_size=16
        """,
    "momentum": """
        data=sine data.rows=200 model.hidden=[12] activation=tanh dropout=gaussian dropout.hidden=0.1
        optim=momentum lr_decay=step lr_decay.step_size=3 early_stopping.look_ahead=11
        train.epochs=12 train.batch_size=16 train.checkpoint=1
        """,
    "muon": """
        data=moons data.rows=300 model.hidden=[8,8] batchnorm=layer dropout=standard dropout.hidden=0.2
        optim=muon lr_decay=cosine early_stopping=none train.epochs=12 train.batch_size=16 logger=none
        """,
    "lbfgs": """
        data=circles data.rows=200 model.hidden=[8] activation=tanh optim=lbfgs regularizer=l2
        lr_decay=none early_stopping=none train.epochs=40 train.checkpoint=2 logger=none
        """,
    "steep": """
        data=moons data.rows=200 model.hidden=[8] initializer=normal initializer.std=0.1
        optim=sgd optim.lr=0.05 lr_decay=one_cycle lr_decay.max_lr=10 lr_decay.warmup=6 early_stopping=none
        train.epochs=24 train.batch_size=16 train.checkpoint=6 logger=none
        """,
}
LONGER = {  # for real processes, which are two seconds old when they begin to train
    "adam": KINDS["adam"].replace("data.rows=300", "data.rows=1500 train.checkpoint=1"),
    "momentum": KINDS["momentum"].replace("train.epochs=12", "train.epochs=80"),
}
WARNS = "steep"  # the kind that warns between two checkpoints: the others' log.txt does not grow there


@dataclass
class Kind:
    """A configuration, and what is known of it.

    Attributes:
        seconds: the time of an undisturbed run.
        undisturbed: the results of that run.
        things: what a resume could forget.
    """

    name: str
    words: list[str]
    seconds: float
    undisturbed: dict[str, Any]
    things: list[str]


@dataclass
class Figures:
    """What is counted."""

    kills: int = 0
    runs: int = 0
    lost: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    places: Counter[str] = field(default_factory=Counter)

    def shown(self) -> str:
        """A line of counts, one of places, and one for each wrong run."""
        counts = (
            f"{self.kills} kills, {self.runs} runs, {len(self.lost)} lost, {len(self.different)} different"
        )
        places = ", ".join(f"{place} {self.places[place]}" for place in sorted(self.places, key=_order))
        return "\n  ".join([counts, f"killed in: {places}", *self.lost, *self.different])


def _order(place: str) -> tuple[int, int]:
    phase, _, epoch = place.partition(" ")
    return PHASES.index(phase), int(epoch or 0)


# Undisturbed runs.


@cache
def prepare() -> tuple[Forked, list[Kind]]:
    """Import everything by training each kind once, then measure all kinds."""
    torch.set_num_threads(1)
    way = Forked()
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        folder = Path(name)
        for kind, words in KINDS.items():
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                code = dlfound(["train", *words.split(), f"run.dir={folder / 'first' / kind}"])
            if code != 0:
                raise SystemExit(f"{kind}: training ended with exit code {code}")
        way.warm()
        return way, measure_all(KINDS, way, folder, 2)


def measure_all(kinds: Mapping[str, str], way: Way, folder: Path, times: int) -> list[Kind]:
    """Measure all kinds."""
    measured = [measure(name, text, way, folder, times) for name, text in kinds.items()]
    print("undisturbed: " + ", ".join(f"{kind.name} {kind.seconds:.2f} s" for kind in measured), flush=True)
    return measured


def measure(name: str, text: str, way: Way, folder: Path, times: int) -> Kind:
    """Train a kind without kills; the results must be the same each time."""
    words = [*text.split(), "run.threads=1", "run.device=cpu"]
    seconds = []
    results = []
    for i in range(times):
        run = folder / f"{name}-{i}"
        started = time.perf_counter()
        code = wait(way.begin([*words, f"run.dir={run}"], run), TIMEOUT)
        seconds.append(time.perf_counter() - started)
        if code != 0:
            raise SystemExit(f"{name}: an undisturbed run ended with exit code {code}")
        results.append(left_by(run))
    if wrong := {part for other in results[1:] for part in differences(results[0], other)}:
        raise SystemExit(f"{name}: undisturbed runs differ in {', '.join(sorted(wrong))}")
    return Kind(name, words, min(seconds), results[0], things_of(name, words, folder / f"{name}-0"))


def things_of(name: str, words: Sequence[str], run: Path) -> list[str]:
    """What a resume of a run of this kind could forget."""
    checkpoint, _ = Checkpoints(run).newest()
    things = [*fields_of(TrainState.load(checkpoint, torch.device("cpu"))), *AROUND]
    if not any(word.startswith("train.checkpoint=") for word in words):
        things += PROGRESS  # its checkpoints are also written in the middle of an epoch
    return [thing for thing in things if thing != "files.log" or name == WARNS]


# Runs that are killed.


def kill_run(
    kind: Kind, run: Path, way: Way, draw: random.Random, figures: Figures, before: Before = do_nothing
) -> list[str]:
    """Kill one run again and again until it ends; returns what is wrong with its results."""
    code = None
    for attempt in range(MAX_KILLS):
        by_name = (run / CONFIG).exists() and draw.random() < 0.5
        words = [f"resume={run}"] if by_name else [*kind.words, f"run.dir={run}"]
        code = way.attempt(words, run, kind.seconds * (1 + attempt / SLOWER), draw, before)
        if code is not None:
            break
        figures.kills += 1
        figures.places[way.place(run)] += 1
    figures.runs += 1
    return [f"exit {code}"] if code != 0 else differences(kind.undisturbed, left_by(run))


def prove(kinds: Sequence[Kind], kills: int, way: Way, folder: Path, draw: random.Random) -> Figures:
    """Kill runs of all kinds in turn, `kills` times in all; wrong runs are kept."""
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


# Runs that forget.


def mutate(
    kinds: Sequence[Kind], wanted: Sequence[str], most: int, way: Way, folder: Path, draw: random.Random
) -> bool:
    """Forget one thing after the other; True if each is noticed within `most` kills."""
    things = sorted({thing for kind in kinds for thing in kind.things})
    if unknown := set(wanted) - set(things):
        raise SystemExit(f"no {', '.join(sorted(unknown))}; choose from: {', '.join(things)}")
    all_noticed = True
    for thing in wanted or things:
        if thing in TIMES:
            print(f"{thing}: a time, nothing else follows from it", flush=True)
            continue
        having = [kind for kind in kinds if thing in kind.things]
        kills, wrong = notice(thing, having, most, way, folder, draw)
        all_noticed = all_noticed and bool(wrong)
        outcome = f"noticed after {kills} kills: {', '.join(wrong)}"
        print(f"{thing}: {outcome if wrong else f'NOT NOTICED in {kills} kills'}", flush=True)
    return all_noticed


def notice(
    thing: str, kinds: Sequence[Kind], most: int, way: Way, folder: Path, draw: random.Random
) -> tuple[int, list[str]]:
    """Kill runs that forget one thing until the results tell; returns the kills and the problems."""
    figures = Figures()
    wrong: list[str] = []
    while not wrong and figures.kills < most:
        kind = kinds[figures.runs % len(kinds)]
        wrong = kill_run(kind, folder / "forgetful", way, draw, figures, forget(thing))
        shutil.rmtree(folder / "forgetful", ignore_errors=True)
    return figures.kills, wrong


# The proof.


def main(argv: Sequence[str]) -> int:
    """Run the proof; returns the exit code: 0 if no run is wrong, and nothing is forgotten unnoticed."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="kills", description=__doc__, formatter_class=formatter)
    parser.add_argument("--kills", type=int, default=0, help="kills of forked runs")
    parser.add_argument("--real", type=int, default=0, help="kills of real processes")
    parser.add_argument("--mutate", nargs="*", metavar="THING", help="forget these things, or each in turn")
    parser.add_argument("--most", type=int, default=200, help="kills within which each must be noticed")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    if not (args.kills or args.real or args.mutate is not None):
        parser.error("give --kills, --real or --mutate")
    started = time.perf_counter()
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    print(f"seed {args.seed}; wrong runs are kept in {folder}", flush=True)
    good = run(args, folder, random.Random(args.seed))
    print(f"{time.perf_counter() - started:.0f} s")
    if good:
        shutil.rmtree(folder)
    return 0 if good else 1


def run(args: argparse.Namespace, folder: Path, draw: random.Random) -> bool:
    """Do what the arguments ask for; True if all is as it should be."""
    good = True
    if args.kills:
        way, kinds = prepare()
        good = show("forked", prove(kinds, args.kills, way, folder, draw))
    if args.mutate is not None:
        way, kinds = prepare()
        good = mutate(kinds, args.mutate, args.most, way, folder, draw) and good
    if args.real:
        kinds = measure_all(LONGER, Real(), folder, 1)
        good = show("real processes", prove(kinds, args.real, Real(), folder, draw)) and good
    return good


def show(name: str, figures: Figures) -> bool:
    """Print the counts; True if no run is wrong."""
    print(f"{name}: {figures.shown()}")
    return not figures.lost and not figures.different
