"""Kill processes of a sweep at random moments, and compare its results with those of an undisturbed sweep.

python tests/proofs sweeps --kills 60                             200 trials, two workers, a journal file
python tests/proofs sweeps --kills 60 --storage sqlite            the same with an SQLite file
bash tests/proofs/postgres.sh python tests/proofs sweeps --kills 60 --storage server
                                                                  the same with a PostgreSQL server
python tests/proofs/proxy.py python tests/proofs sweeps --kills 60 --storage server
                                                                  the same through Optuna's gRPC proxy
python tests/proofs sweeps --kills 30 --workers 1 --search tpe    a model's draws must be the same too
python tests/proofs sweeps --kills 30 --commands 2                two simultaneous commands in one folder

The commands are forked from one warm process, so that they start quickly. Nine of ten kills hit a worker, the
others hit its parent process; then the proof starts the same command again. After some kills it leaves an
unfinished record at the end of the journal.
"""

import argparse
import csv
import fcntl
import os
import random
import select
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import optuna
import torch
from sqlalchemy import make_url

from dlfound.runs.folder import TRIALS, RunFolder
from dlfound.sweeps.folder import JOURNAL
from dlfound.sweeps.plan import Plan, make_plan
from dlfound.sweeps.results import CSV
from dlfound.sweeps.samplers import make_sampler
from dlfound.sweeps.storage import JOURNAL_LOCK, TORN
from dlfound.sweeps.trials import TrialStore
from proofs.forked import begin, exit_code

EPOCHS = 12
SPACE = f"""optim=adam,sgd optim.lr=tag(log,interval(1e-4,1e-1)) model.hidden=choice([8],[16]) data=moons
    data.rows=200 train.epochs={EPOCHS} train.batch_size=32 early_stopping=none lr_decay=none logger=none
    run.threads=1 run.device=cpu"""
MAX_COMMANDS = 40  # starts of the same command
TIMEOUT = 600.0  # seconds until a sweep counts as hanging
UNFINISHED_RECORD = b'{"op_code":5,"worker_id":"gone","tri'


def warm() -> None:
    """Import everything that a forked command needs."""
    import alembic.command  # noqa: F401
    import matplotlib.figure  # noqa: F401
    import sklearn.ensemble  # noqa: F401

    import dlfound.sweeps.worker  # noqa: F401

    torch.set_num_threads(1)
    optuna.logging.disable_default_handler()
    plan = make_plan(SPACE.split())
    make_sampler("random", plan.method, plan.space)


# ---- killing


@dataclass
class Counts:
    """What happened to the sweep."""

    kills: int = 0
    commands: int = 0
    torn: int = 0
    victims: Counter[str] = field(default_factory=Counter)


def workers_of(pid: int) -> list[int]:
    """List the child processes of a process."""
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def has_ended(pid: int, seconds: float) -> bool:
    """Wait up to `seconds` for the end of a process; return True if it has ended."""
    file = os.pidfd_open(pid)
    try:
        return bool(select.select([file], [], [], seconds)[0])
    finally:
        os.close(file)


def tear_journal(sweep: Path, counts: Counts) -> None:
    """Leave an unfinished record in the journal, as if a process had been killed while it wrote one."""
    if not (sweep / JOURNAL).exists():
        return
    with (sweep / JOURNAL_LOCK).open("a") as lock, (sweep / JOURNAL).open("ab") as file:
        fcntl.flock(lock, fcntl.LOCK_EX)
        file.write(UNFINISHED_RECORD)
    counts.torn += 1


def kill_one(command: int, sweep: Path, draw: random.Random, counts: Counts) -> None:
    """Kill a worker or its parent process."""
    workers = workers_of(command)
    aims_at_worker = draw.random() < 0.9
    if aims_at_worker and not workers:
        return
    victim = draw.choice(workers) if aims_at_worker else command
    with suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)
        counts.kills += 1
        counts.victims["worker" if aims_at_worker else "parent process"] += 1
        if draw.random() < 0.2:
            tear_journal(sweep, counts)


def run_and_kill(
    words: list[str], sweep: Path, kills: int, at_once: int, pause: float, draw: random.Random
) -> tuple[Counts, list[str]]:
    """Run a sweep to its end while killing its processes.

    Args:
        at_once: how many commands run the sweep simultaneously.
        pause: mean number of seconds between two kills.

    Returns:
        What happened, and what went wrong.
    """
    counts = Counts(commands=at_once)
    began = time.monotonic()
    log = sweep.with_name("log.txt")
    commands = [begin("sweep", words, log) for _ in range(at_once)]
    while commands:
        if time.monotonic() - began > TIMEOUT:
            for pid in [pid for command in commands for pid in (command, *workers_of(command))]:
                os.kill(pid, signal.SIGKILL)
            return counts, [f"the sweep has not ended after {TIMEOUT:.0f} s"]
        chosen = draw.choice(commands)
        more = counts.kills < kills
        if not has_ended(chosen, draw.expovariate(1 / pause) if more else 1.0):
            if more:
                kill_one(chosen, sweep, draw, counts)
            continue
        code = exit_code(chosen)
        commands.remove(chosen)
        if code == -signal.SIGKILL and counts.commands < MAX_COMMANDS:
            commands.append(begin("sweep", words, log))
            counts.commands += 1
        elif code:
            return counts, [f"the command ended with exit code {code}", *log.read_text().splitlines()[-4:]]
    return counts, []


# ---- checking


def read_table(sweep: Path) -> list[dict[str, str]]:
    """Read trials.csv without the durations."""
    with (sweep / CSV).open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def find_faults(plan: Plan, undisturbed: list[dict[str, str]]) -> Iterator[str]:
    """Check the sweep's storage and folder, and compare its table with that of the undisturbed sweep."""
    store = TrialStore(plan, lambda message: None)
    trials = store.trials()
    states = Counter(trial.state.name for trial in trials[: plan.count])
    if states != Counter({"COMPLETE": plan.count}):
        yield f"the states are {dict(states)}"
    if [trial.number for trial in trials] != list(range(len(trials))):
        yield "trial numbers are missing or duplicated"
    folders = {path.name: RunFolder(path) for path in (plan.path / TRIALS).iterdir() if path.is_dir()}
    if set(folders) != {f"{number:04}" for number in range(plan.count)}:
        yield f"there are {len(folders)} folders"
    for name, folder in sorted(folders.items()):
        if not folder.finished:
            yield f"trial {name} is not finished"
        epochs = len(folder.read_lines("metrics.jsonl"))
        if epochs != EPOCHS:
            yield f"trial {name} has {epochs} epochs"
    yield from files_with_password(plan)
    table = read_table(plan.path)
    different = [row["trial"] for row, other in zip(table, undisturbed, strict=False) if row != other]
    if different or len(table) != len(undisturbed):
        yield f"{len(different)} of {len(table)} trials differ from the undisturbed sweep: {different[:5]}"


def files_with_password(plan: Plan) -> Iterator[str]:
    """Find files that contain the password of the storage."""
    password = make_url(plan.method.storage).password if "://" in plan.method.storage else None
    if password:
        for path in plan.path.rglob("*"):
            if path.is_file() and password.encode() in path.read_bytes():
                yield f"{path} contains the password"


# ---- the command


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--commands", type=int, default=1, help="how many run simultaneously")
    parser.add_argument("--search", default="random", help="the search method")
    parser.add_argument("--storage", default="journal", help="journal, sqlite, server, or an address")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """Run the proof; returns the exit code, 0 if nothing is lost, duplicated or different."""
    args = parse(argv)
    warm()
    with tempfile.TemporaryDirectory(prefix="dlfound-") as name:
        folder = Path(name)
        sweep = folder / "killed"
        words = [*SPACE.split(), f"search={args.search}", f"search.trials={args.trials}"]
        words.append(f"search.workers={args.workers}")
        seconds = run_undisturbed([*words, f"run.dir={folder / 'undisturbed'}"], folder / "log.txt")
        sqlite = f"sqlite:///{folder / 'study.db'}"
        server = os.environ.get("DLFOUND_STORAGE", "")
        storage = {"sqlite": sqlite, "server": server}.get(args.storage, args.storage)
        words += [f"run.dir={sweep}", f"search.storage={storage}", f"run.name=prove-{os.getpid()}"]
        pause = seconds / args.kills
        draw = random.Random(args.seed)
        counts, faults = run_and_kill(words, sweep, args.kills, args.commands, pause, draw)
        faults = faults or list(find_faults(make_plan(words), read_table(folder / "undisturbed")))
        victims = ", ".join(f"{count} x {victim}" for victim, count in counts.victims.items())
        repaired = (sweep / TORN).stat().st_size // len(UNFINISHED_RECORD) if (sweep / TORN).exists() else 0
        print(f"{args.trials} trials, {seconds:.0f} s undisturbed; {counts.kills} kills ({victims}),")
        print(f"{counts.commands} commands, {counts.torn} unfinished records, at least {repaired} repaired")
        for fault in faults:
            print(f"WRONG: {fault}")
        if faults:
            shutil.copytree(sweep, Path(tempfile.gettempdir()) / f"dlfound-wrong-{os.getpid()}")
        print(f"{len(faults)} faults" if faults else "nothing lost, nothing twice, nothing different")
    return int(bool(faults))


def run_undisturbed(words: list[str], log: Path) -> float:
    """Run a sweep that is not killed; returns its duration in seconds."""
    began = time.monotonic()
    code = exit_code(begin("sweep", words, log))
    if code:
        raise SystemExit(f"the undisturbed sweep ended with exit code {code}")
    return time.monotonic() - began
