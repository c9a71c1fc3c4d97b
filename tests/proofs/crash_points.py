"""Every call of a whole run that touches its folder, as the point where the process dies or the disk refuses.

For each point: the run is started, struck there, and the command is given again; the end must have the same bytes as a
run that nothing struck. Then power is cut: what was not yet forced to the disk is lost, torn or out of order.

python tests/proofs/crash_points.py                       every point, and 10,000 states after a loss of power
python tests/proofs/crash_points.py --every 20 --power 200
"""

import argparse
import ast
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from disk import KILLED, Call, Disk, Fault, Watch, not_events
from power import Machine
from trainings import PLACE, RUN, WORDS, Result, contents, learn, left_over, run, warm, workplace

from dlfound.errors import Error
from dlfound.runs.checkpoints import Checkpoints

FRESH = (*WORDS, "train.epochs=2", "logger=none")
LONGER = (*WORDS, "train.epochs=3", "logger=none")
DRAWN = (*WORDS, "train.epochs=2")
RESUME = ("train", f"resume={RUN}")
EXTEND = ("train", f"resume={RUN}", "train.epochs=3")
KEPT = Path("kept")  # where a scenario's first state lies

SPARED = r"/log\.txt$|/\.lock$"  # what may fail while the run goes on

# (mode, for ever): each of them at each call that can fail so
WAYS = (
    ("kill", False), ("half", False), ("short", False),
    ("ENOSPC", False), ("EIO", False), ("ENOSPC", True), ("EIO", True),
)  # fmt: skip


Ways = Sequence[tuple[str, bool]]


@dataclass
class Scenario:
    """A command, the folder it finds, and what must come of it.

    Attributes:
        before: makes the folder's first state.
        again: the commands to go on with, in turn; the last one begins anew where no config.yaml is left.
        damaged: a checkpoint is, and the report tells of it.
        whole: the command of the run that it must be equal to.
    """

    name: str
    words: tuple[str, ...]
    before: Callable[[], None]
    again: tuple[tuple[str, ...], ...]
    damaged: bool = False
    wanted: dict = field(default_factory=dict)
    whole: tuple[str, ...] = FRESH


@dataclass
class Tally:
    """What was tried, and what went wrong."""

    points: Counter = field(default_factory=Counter)
    ends: Counter = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    states: int = 0
    resumed: int = 0

    def fail(self, what: str, said: str = "") -> None:
        """Write down what went wrong, and where."""
        self.faults.append(what)
        print(f"WRONG {what}\n{said}".rstrip(), flush=True)


# The first states.


def nothing() -> None:
    """No folder."""
    shutil.rmtree(PLACE, ignore_errors=True)
    Path(PLACE).mkdir()


def killed() -> None:
    """A run killed half way through writing its last checkpoint but one: lines too many, a file half written."""
    nothing()
    calls = [call for call in record(FRESH) if not_events(call.path)]
    writes = [i for i, call in enumerate(calls) if call.kind == "write" and "checkpoints" in call.path]
    nothing()
    struck(FRESH, Fault(writes[-2], "half", only=not_events))


def damaged() -> None:
    """The same, and the newest checkpoint has a wrong bit."""
    killed()
    path = sorted(Path(RUN, "checkpoints").glob("step-*"))[-1]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def finished() -> None:
    """A run that is over, and is to be longer."""
    nothing()
    run(FRESH)


SCENARIOS = (
    Scenario("a new run", FRESH, nothing, (RESUME, FRESH)),
    Scenario("a killed run that goes on", RESUME, killed, (RESUME, FRESH)),
    Scenario("one whose newest checkpoint is damaged", RESUME, damaged, (RESUME, FRESH), damaged=True),
    Scenario("a finished run made longer", EXTEND, finished, (EXTEND, LONGER), whole=LONGER),
)


# Runs.


def reset() -> None:
    """The scenario's first state."""
    shutil.rmtree(PLACE, ignore_errors=True)
    shutil.copytree(KEPT, PLACE)


def keep() -> None:
    """What lies there is the first state."""
    shutil.rmtree(KEPT, ignore_errors=True)
    shutil.move(PLACE, KEPT)


def record(words: tuple[str, ...]) -> list[Call]:
    """The calls of a whole run.

    Raises:
        SystemExit: it failed, or made calls that no fault could strike.
    """
    out, seen = Path("calls"), []

    def before() -> None:
        disk = Disk(PLACE).install()
        seen.extend([disk, Watch(disk)])

    def after() -> None:
        disk, watch = seen
        out.write_text(repr((watch.seen == watch.counted(), [tuple(vars(c).values()) for c in disk.calls])))

    result = run(words, before, after)
    if result.code:
        sys.exit(f"{' '.join(words)} ends with {result.code}\n{result.said}")
    complete, calls = ast.literal_eval(out.read_text())
    if not complete:
        sys.exit("some calls passed the disk by: see Watch in disk.py")
    return [Call(*call) for call in calls]


def struck(words: tuple[str, ...], fault: Fault) -> Result:
    """The command on a disk that fails."""
    return run(words, lambda: Disk(PLACE, fault).install() and None)


# What must hold.


def ready(scenario: Scenario) -> list[Call]:
    """Lay down the first state and what must come of it; returns the calls of the command there."""
    nothing()
    run(scenario.whole)
    scenario.wanted = contents(Path(RUN))
    scenario.before()
    keep()
    reset()
    return [call for call in record(scenario.words) if not_events(call.path)]


def try_points(
    scenario: Scenario, calls: list[Call], ways: Ways, every: int, offset: int, tally: Tally
) -> None:
    """All ways to fail at every so many-th call."""
    kinds = Counter(call.kind for call in calls)
    print(
        f"{scenario.name}: {len(calls)} calls: {', '.join(f'{n} {k}' for k, n in kinds.most_common())}",
        flush=True,
    )
    for at, call in enumerate(calls):
        for way, (mode, ever) in enumerate(ways):
            fault = Fault(at, mode, ever, not_events)
            if fault.fits(call.kind) and (at * len(ways) + way + offset) % every == 0:
                try_point(scenario, call, fault, tally)


def try_point(scenario: Scenario, call: Call, fault: Fault, tally: Tally) -> None:
    """Strike once, and go on."""
    way = f"{fault.mode}{' for ever' if fault.ever else ''}"
    where = f"{scenario.name}: {way} at call {fault.at} ({call.kind} {call.path.removeprefix('xor/')})"
    tally.points[way] += 1
    reset()
    first = struck(scenario.words, fault)
    tally.ends[f"{way}: {first.code}"] += 1
    for wrong in wrong_end(scenario, call, fault, first):
        tally.fail(f"{where}: {wrong}", first.said)
    words = scenario.again[fault.at % len(scenario.again) if Path(RUN, "config.yaml").exists() else -1]
    for wrong in wrong_whole(scenario, second := run(words)):
        tally.fail(f"{where}: then {' '.join(words[:2])}: {wrong}", second.said)


def wrong_end(scenario: Scenario, call: Call, fault: Fault, result: Result) -> list[str]:
    """What is wrong with how a struck run ended, and with the folder that it left: it may also have gone on."""
    found = ["a traceback"] if "Traceback" in result.said else []
    if fault.mode in ("kill", "half"):
        return found if result.code == KILLED else [f"exit code {result.code}"]
    if result.code == 0:
        silent = fault.mode != "short" and not re.search(SPARED, call.path)
        return found + ["the error is passed over"] * silent + wrong_whole(scenario, result)
    refused = result.code == 6 and "error[resources]" in result.said
    unread = result.code == 4 and re.search("cannot (be )?read", result.said) and fault.mode == "EIO"
    if fault.mode == "short" or not (refused or unread):
        found.append(f"exit code {result.code}")
    if not fault.ever:
        old = left_over(KEPT / Path(RUN).relative_to(PLACE))
        found += [f"{name} is left" for name in left_over(Path(RUN)) if ".tmp-" in name and name not in old]
    return found


def wrong_whole(scenario: Scenario, result: Result) -> list[str]:
    """What is wrong with a run that should be complete, and equal to one that nothing struck."""
    if result.code:
        return [f"exit code {result.code}"]
    found, wanted = contents(Path(RUN)), scenario.wanted
    wrong = [f"{name} differs" for name in wanted if found[name] != wanted[name]]
    return wrong + [
        f"{name} is left" for name in left_over(Path(RUN)) if not (scenario.damaged and ".bad" in name)
    ]


def try_events(every: int, tally: Tally) -> None:
    """TensorBoard's files alone cannot be written: the run ends as without a fault, and says so once."""
    scenario = Scenario("TensorBoard's files", DRAWN, nothing, (DRAWN,), whole=DRAWN)
    ready(scenario)
    reset()
    count = sum(not not_events(call.path) for call in record(DRAWN))
    print(f"{scenario.name}: {count} calls", flush=True)
    for number, (mode, ever) in enumerate(way for way in WAYS if way[0].startswith("E")):
        for at in range(number % every, count, every):
            fault = Fault(at, mode, ever, lambda path: not not_events(path))
            tally.points["events"] += 1
            reset()
            result = struck(DRAWN, fault)
            tally.ends[f"events: {result.code}"] += 1
            said, traced = result.said.count("cannot be written"), "Traceback" in result.said
            found = [*wrong_whole(scenario, result), *["a traceback"] * traced, *["told twice"] * (said > 1)]
            found += ["not told"] * (said == 0 and ever and at == 0)
            for wrong in found:
                tally.fail(f"{scenario.name}: {mode}{' for ever' * ever} at call {at}: {wrong}", result.said)


# Loss of power.


def try_power(
    scenario: Scenario, calls: list[Call], count: int, resume_every: int, rng: Random, tally: Tally
) -> None:
    """States after each call: the checkpoint that is found, and for some of them the whole way to the end."""
    reset()
    kept, told = Checkpoints(Path(RUN)).newest()
    machine, done = Machine(KEPT, kept.step if kept else 0), 0
    for at, call in enumerate(calls):
        machine.play(call)
        while done * len(calls) < (at + 1) * count:
            machine.lose_power(rng, Path(PLACE))
            where = (
                f"{scenario.name}: power lost after call {at} ({call.kind} {call.path.removeprefix('xor/')})"
            )
            done += 1
            for what in wrong_state(machine.committed, len(told)):
                tally.fail(f"{where}: {what}")
            if done % resume_every == 0:
                wrong, said = wrong_after_power(scenario, tally)
                for what in wrong:
                    tally.fail(f"{where}: {what}", said)
    tally.states += done


def wrong_state(committed: int, damaged: int) -> list[str]:
    """What is wrong with the checkpoint that is found: the program had relied on one, and it may be newer."""
    try:
        found, told = Checkpoints(Path(RUN)).newest()
    except Error as error:
        return [f"no checkpoint can be read: {error}"]
    wrong = told if len(told) > damaged else []
    step = found.step if found else 0
    return (
        wrong
        if step >= committed
        else [*wrong, f"the checkpoint of step {committed} is lost, step {step} is found"]
    )


def wrong_after_power(scenario: Scenario, tally: Tally) -> tuple[list[str], str]:
    """What is wrong with the run once it has gone on."""
    tally.resumed += 1
    words = scenario.again[tally.resumed % len(scenario.again) if Path(RUN, "config.yaml").exists() else -1]
    return wrong_whole(scenario, result := run(words)), result.said


def show(tally: Tally, seconds: float) -> None:
    """The figures."""
    for way, count in tally.points.items():
        ends = ", ".join(
            f"{n} x {e.rpartition(' ')[2]}" for e, n in tally.ends.items() if e.startswith(way + ":")
        )
        print(f"{way}: {count} points; exit codes: {ends}")
    print(
        f"{sum(tally.points.values())} points; {tally.states} states after a loss of power, {tally.resumed} resumed"
    )
    print(f"{len(tally.faults)} wrong; {seconds:.0f} s")


def main() -> int:
    """All of it; exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--every", type=int, default=1, help="only every so many-th point; 0 for none")
    parser.add_argument("--offset", type=int, default=0, help="which of them")
    parser.add_argument("--power", type=int, default=10_000, help="states after a loss of power")
    parser.add_argument(
        "--resume-every", type=int, default=10, help="of which every so many-th goes on to the end"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ways", nargs="*", help="only these: kill, EIO, ...")
    args, began, tally = parser.parse_args(), time.perf_counter(), Tally()
    rng, ways = Random(args.seed), [way for way in WAYS if not args.ways or way[0] in args.ways]
    warm(FRESH)
    learn(FRESH, LONGER, DRAWN, RESUME, EXTEND)
    with workplace():
        for scenario in SCENARIOS:
            calls = ready(scenario)
            if args.every:
                try_points(scenario, calls, ways, args.every, args.offset, tally)
            if args.power:
                try_power(scenario, calls, args.power // len(SCENARIOS), args.resume_every, rng, tally)
        if args.every and not args.ways:
            try_events(args.every, tally)
    show(tally, time.perf_counter() - began)
    return 1 if tally.faults else 0


if __name__ == "__main__":
    sys.exit(main())
