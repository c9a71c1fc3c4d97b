"""Kill processes of a sweep at random moments, and look whether it ends as one that nobody touches.

python tests/proofs sweeps --kills 60                                200 trials, two workers, a journal file
python tests/proofs sweeps --kills 60 --storage sqlite               the same in an SQLite file
bash tests/proofs/postgres.sh python tests/proofs sweeps --kills 60 --storage server
                                                                         the same on a PostgreSQL server
python tests/proofs/proxy.py python tests/proofs sweeps --kills 60 --storage server
                                                                         the same by way of Optuna's gRPC proxy
python tests/proofs sweeps --kills 30 --workers 1 --search tpe       what a model draws must be the same too
python tests/proofs sweeps --kills 30 --commands 2                   two commands at once, in the same folder

It is forked from one warm process, so that the start costs little. Nine of ten kills hit a worker, one who watches
over them: then the same command is given again. Half-written lines are left at the journal's end on purpose.
"""

import os

os.environ |= {
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}  # a fork must be safe

import argparse
import csv
import fcntl
import random
import select
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import optuna
import torch
from sqlalchemy import make_url

from dlfound.runs.folder import RunFolder
from dlfound.sweeps import worker
from dlfound.sweeps.plan import Plan, make_plan
from dlfound.sweeps.results import CSV
from dlfound.sweeps.storage import JOURNAL, TORN
from dlfound.sweeps.trial_locks import Claims
from proofs.forked import begin

SPACE = """optim=adam,sgd optim.lr=tag(log,interval(1e-4,1e-1)) model.hidden=choice([8],[16]) data=moons data.rows=200
    train.epochs=12 train.batch_size=32 early_stopping=none lr_decay=none logger=none run.threads=1 run.device=cpu"""
MOST = 40  # times that the same command is given again
PATIENCE = 600.0  # seconds until a sweep that does not end counts as hanging
HALF = b'{"op_code":5,"worker_id":"gone","tri'
TIMES = ("seconds",)  # columns that may differ


def warm() -> None:
    """Import everything, so that a fork has it."""
    import matplotlib.figure  # noqa: F401
    import sklearn.ensemble  # noqa: F401

    torch.set_num_threads(1)
    optuna.logging.disable_default_handler()
    worker.make_sampler("random", make_plan(SPACE.split()).method, make_plan(SPACE.split()).space)


def workers_of(pid: int) -> list[int]:
    """The processes that another one has forked."""
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


@dataclass
class Figures:
    """What is counted."""

    kills: int = 0
    commands: int = 0
    torn: int = 0
    hit: Counter[str] = field(default_factory=Counter)


def tear(sweep: Path, figures: Figures) -> None:
    """Leave half a record at the end, as one who is killed while writing it does: with the lock in hand."""
    if not (sweep / JOURNAL).exists():
        return
    with (sweep / ".journal.lock").open("a") as lock, (sweep / JOURNAL).open("ab") as file:
        fcntl.flock(lock, fcntl.LOCK_EX)
        file.write(HALF)
    figures.torn += 1


def kill_one(command: int, sweep: Path, draw: random.Random, figures: Figures) -> None:
    """A worker, or who watches over them."""
    below, aim = workers_of(command), draw.random()
    if not below and aim < 0.9:
        return
    victim, what = (draw.choice(below), "worker") if aim < 0.9 else (command, "watcher")
    with suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)
        figures.kills += 1
        figures.hit[what] += 1
        if draw.random() < 0.2:
            tear(sweep, figures)


def is_over(pid: int, seconds: float) -> bool:
    """Wait so long for a process; true where it has ended."""
    watched = os.pidfd_open(pid)
    try:
        return bool(select.select([watched], [], [], seconds)[0])
    finally:
        os.close(watched)


def killed(
    words: list[str], sweep: Path, kills: int, at_once: int, pause: float, draw: random.Random
) -> tuple[Figures, list[str]]:
    """A sweep that is killed again and again, until it ends; and what is wrong with its end.

    Args:
        pause: seconds between two kills, in the mean.
    """
    figures, began = Figures(), time.monotonic()
    log = sweep.with_name("said.txt")
    commands = [begin("sweep", words, log) for _ in range(at_once)]
    figures.commands = at_once
    while commands:
        if time.monotonic() - began > PATIENCE:
            for pid in [p for c in commands for p in (c, *workers_of(c))]:
                os.kill(pid, signal.SIGKILL)
            return figures, ["it does not end"]
        chosen = draw.choice(commands)
        left = figures.kills < kills
        if not is_over(chosen, draw.expovariate(1 / pause) if left else 1.0):
            if left:
                kill_one(chosen, sweep, draw, figures)
            continue
        code = os.waitstatus_to_exitcode(os.waitpid(chosen, 0)[1])
        commands.remove(chosen)
        if code == -signal.SIGKILL and figures.commands < MOST:
            commands.append(begin("sweep", words, log))
            figures.commands += 1
        elif code:
            return figures, [f"the command ends with {code}", *log.read_text().splitlines()[-4:]]
    return figures, []


def table(sweep: Path) -> list[dict[str, str]]:
    """What came out, without times."""
    with (sweep / CSV).open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]


def faults(plan: Plan, unbroken: list[dict[str, str]]) -> list[str]:
    """What is not as it should be."""
    wrong, claims = [], Claims(plan.locks)
    trials = worker.open_trials(plan, claims, lambda message: None).open(None, None)
    every = trials.storage.get_all_trials(trials._study_id)
    claims.close()
    states = Counter(t.state.name for t in every if t.number < plan.count)
    if states != Counter({"COMPLETE": plan.count}):
        wrong.append(f"states {dict(states)}")
    numbers = sorted(t.number for t in every)
    if numbers != list(range(len(numbers))):
        wrong.append("numbers are missing, or twice there")
    folders = {path.name for path in (plan.path / "trials").iterdir() if path.is_dir()}
    if folders != {f"{n:04}" for n in range(plan.count)}:
        wrong.append(f"{len(folders)} folders")
    wrong += [
        f"trial {name} is not finished"
        for name in folders
        if not RunFolder(plan.path / "trials" / name).finished
    ]
    lines = {
        name: len(RunFolder(plan.path / "trials" / name).read_lines("metrics.jsonl")) for name in folders
    }
    wrong += [f"trial {name} has {count} epochs" for name, count in lines.items() if count != 12]
    if (
        address := make_url(plan.method.storage) if "://" in plan.method.storage else None
    ) and address.password:
        files = [path for path in plan.path.rglob("*") if path.is_file()]
        wrong += [
            f"{path} tells the password" for path in files if address.password.encode() in path.read_bytes()
        ]
    found = table(plan.path)
    differ = [row["trial"] for row, other in zip(found, unbroken, strict=False) if row != other]
    if differ or len(found) != len(unbroken):
        wrong.append(
            f"{len(differ)} of {len(found)} trials are not as in the sweep that nobody kills: {differ[:5]}"
        )
    return wrong


def main(argv: Sequence[str]) -> int:
    """The exit code: 0 where nothing is lost, twice there, or different."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--commands", type=int, default=1, help="so many at once")
    parser.add_argument("--search", default="random")
    parser.add_argument("--storage", default="journal", help="journal, sqlite, server, or an address")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    warm()
    with tempfile.TemporaryDirectory(prefix="dlfound-") as name:
        folder = Path(name)
        common = [*SPACE.split(), f"search={args.search}", f"search.trials={args.trials}"]
        whole = [*common, f"search.workers={args.workers}", f"run.dir={folder / 'unbroken'}"]
        began = time.monotonic()
        if (
            code := os.waitstatus_to_exitcode(os.waitpid(begin("sweep", whole, folder / "said.txt"), 0)[1])
        ) != 0:
            raise SystemExit(f"a sweep that nobody kills ends with {code}")
        seconds = time.monotonic() - began
        sweep = folder / "killed"
        addresses = {
            "sqlite": f"sqlite:///{folder / 'study.db'}",
            "server": os.environ.get("DLFOUND_STORAGE", ""),
        }
        storage = addresses.get(args.storage, args.storage)
        words = [*common, f"search.workers={args.workers}", f"run.dir={sweep}", f"search.storage={storage}"]
        words += [f"run.name=prove-{os.getpid()}"]
        figures, wrong = killed(
            words, sweep, args.kills, args.commands, seconds / args.kills, random.Random(args.seed)
        )
        wrong = wrong or faults(make_plan(words), table(folder / "unbroken"))
        hit = ", ".join(f"{count} {what}s" for what, count in figures.hit.items())
        mended = (sweep / TORN).stat().st_size // len(HALF) if (sweep / TORN).exists() else 0
        print(f"{args.trials} trials, {seconds:.0f} s where nobody kills; {figures.kills} kills ({hit}),")
        print(f"{figures.commands} commands, {figures.torn} torn ends, {mended} or more of them mended")
        for text in wrong:
            print(f"WRONG: {text}")
        if wrong:
            shutil.copytree(sweep, Path(tempfile.gettempdir()) / f"dlfound-wrong-{os.getpid()}")
        print("nothing lost, nothing twice, nothing different" if not wrong else f"{len(wrong)} faults")
    return int(bool(wrong))
