"""Kill a run, or let the disk fail, at each call that touches its folder; then cut the power.

For each call, dlfound runs, is struck there, and runs again; the results must have the bytes of an
undisturbed run. Then power is lost after each call: what was not yet forced to the disk is lost, torn or out
of order.

python tests/proofs crash_points                       every call, and 10,000 states after a loss of power
python tests/proofs crash_points --every 20 --power 200
"""

import argparse
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random

from dlfound.errors import Error
from dlfound.runs.checkpoints import Checkpoints
from proofs.disk import KILLED, Call, Fault, not_events
from proofs.power import Machine
from proofs.same import results_of
from proofs.scenarios import COMMANDS, EVENTS, SCENARIOS, Scenario, strike
from proofs.trainings import PLACE, RUN, Result, enter_workplace, left_over, run, warm

MAY_FAIL = r"/log\.txt$|/\.lock$"  # a run continues without these files
CURVES_LOST = "cannot write curves"
WAYS = (
    ("kill", False), ("half", False), ("short", False),
    ("ENOSPC", False), ("EIO", False), ("ENOSPC", True), ("EIO", True),
)  # fmt: skip

Ways = Sequence[tuple[str, bool]]  # (mode of a fault, whether it lasts)


class FirstWrong(Exception):
    """Ends the proof at the first wrong result."""


@dataclass
class Tally:
    """What was tried, and what went wrong.

    Attributes:
        points: way -> how many calls were struck.
        ends: "way: exit code" -> how many runs ended so.
        states, resumed: states after a loss of power, and how many of them were resumed.
    """

    stop: bool = False
    points: Counter = field(default_factory=Counter)
    ends: Counter = field(default_factory=Counter)
    wrong: int = 0
    states: int = 0
    resumed: int = 0

    def fail(self, problems: Sequence[str], where: str, output: str = "") -> None:
        """Report problems, if there are any."""
        for problem in problems:
            self.wrong += 1
            print(f"WRONG {where}: {problem}\n{output}".rstrip(), flush=True)
        if problems and self.stop:
            raise FirstWrong

    def show(self, seconds: float) -> None:
        """Print the counts."""
        for way, count in self.points.items():
            ends = [(n, end.rpartition(" ")[2]) for end, n in self.ends.items() if end.startswith(way + ":")]
            codes = ", ".join(f"{n} x {code}" for n, code in ends)
            print(f"{way}: {count} points; exit codes: {codes}")
        power = f"{self.states} states after a loss of power, {self.resumed} resumed"
        print(f"{sum(self.points.values())} points; {power}")
        print(f"{self.wrong} wrong; {seconds:.0f} s")


# Calls that fail.


def try_points(
    scenario: Scenario, calls: list[Call], ways: Ways, every: int, offset: int, tally: Tally
) -> None:
    """Strike at every `every`-th pair of a call and a way to fail."""
    kinds = Counter(call.kind for call in calls)
    listed = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())
    print(f"{scenario.name}: {len(calls)} calls: {listed}", flush=True)
    for at, call in enumerate(calls):
        for number, (mode, ever) in enumerate(ways):
            fault = Fault(at, mode, ever, not_events)
            if fault.fits(call.kind) and (at * len(ways) + number + offset) % every == 0:
                try_point(scenario, call, fault, tally)


def try_point(scenario: Scenario, call: Call, fault: Fault, tally: Tally) -> None:
    """Strike once, and resume."""
    way = _way(fault)
    where = f"{scenario.name}: {way} at call {fault.at} {_shown(call)}"
    tally.points[way] += 1
    scenario.reset()
    first = strike(scenario.words, fault)
    tally.ends[f"{way}: {first.code}"] += 1
    tally.fail(wrong_end(scenario, call, fault, first), where, first.output)
    words = scenario.next_command(fault.at)
    second = run(words)
    tally.fail(wrong_results(scenario, second), f"{where}: then {' '.join(words[:2])}", second.output)


def wrong_end(scenario: Scenario, call: Call, fault: Fault, result: Result) -> list[str]:
    """What is wrong with the end of a struck run, which may also have continued."""
    problems = ["a traceback"] if "Traceback" in result.output else []
    if fault.mode in ("kill", "half"):
        return problems if result.code == KILLED else [f"exit code {result.code}"]
    if result.code == 0:
        if fault.mode != "short" and not re.search(MAY_FAIL, call.path):
            problems.append("the error is ignored")
        return problems + wrong_results(scenario, result)
    refused = result.code == 6 and "error[resources]" in result.output
    unread = result.code == 4 and re.search("cannot (be )?read", result.output) and fault.mode == "EIO"
    if fault.mode == "short" or not (refused or unread):
        problems.append(f"exit code {result.code}")
    if not fault.ever:
        old = left_over(scenario.kept / Path(RUN).relative_to(PLACE))
        new = [name for name in left_over(Path(RUN)) if ".tmp-" in name and name not in old]
        problems += [f"{name} is left" for name in new]
    return problems


def wrong_results(scenario: Scenario, result: Result) -> list[str]:
    """What is wrong with a run that should be complete and equal to an undisturbed one."""
    if result.code:
        return [f"exit code {result.code}"]
    results = results_of(Path(RUN))
    problems = [f"{name} differs" for name, value in scenario.wanted.items() if results[name] != value]
    left = [name for name in left_over(Path(RUN)) if not (scenario.damaged and ".bad" in name)]
    return problems + [f"{name} is left" for name in left]


def try_events(every: int, tally: Tally) -> None:
    """Let only TensorBoard's files fail: the run must have the same results, and warn once."""
    count = sum(not not_events(call.path) for call in EVENTS.record())
    print(f"{EVENTS.name}: {count} calls", flush=True)
    for number, (mode, ever) in enumerate(way for way in WAYS if way[0].startswith("E")):
        for at in range(number % every, count, every):
            fault = Fault(at, mode, ever, lambda path: not not_events(path))
            tally.points["events"] += 1
            EVENTS.reset()
            result = strike(EVENTS.words, fault)
            tally.ends[f"events: {result.code}"] += 1
            problems = wrong_results(EVENTS, result)
            if "Traceback" in result.output:
                problems.append("a traceback")
            warnings = result.output.count(CURVES_LOST)
            if warnings > 1 or (warnings == 0 and ever and at == 0):
                problems.append(f"{warnings} warnings")
            tally.fail(problems, f"{EVENTS.name}: {_way(fault)} at call {at}", result.output)


def _way(fault: Fault) -> str:
    return f"{fault.mode} for ever" if fault.ever else fault.mode


def _shown(call: Call) -> str:
    return f"({call.kind} {call.path.removeprefix('xor/')})"


# Loss of power.


def try_power(
    scenario: Scenario, calls: list[Call], count: int, resume_every: int, rng: Random, tally: Tally
) -> None:
    """Look at states after each call: which checkpoint does dlfound find, and can it resume the run?"""
    scenario.reset()
    checkpoint, warnings = Checkpoints(Path(RUN)).newest()
    machine = Machine(scenario.kept, checkpoint.step if checkpoint else 0)
    done = 0
    for at, call in enumerate(calls):
        machine.play(call)
        while done * len(calls) < (at + 1) * count:
            machine.lose_power(rng, Path(PLACE))
            where = f"{scenario.name}: power lost after call {at} {_shown(call)}"
            done += 1
            tally.states += 1
            tally.fail(wrong_state(machine.committed, len(warnings)), where)
            if done % resume_every == 0:
                resume_after_power(scenario, where, tally)


def wrong_state(committed: int, damaged: int) -> list[str]:
    """What is wrong with the checkpoint that is found; it may be newer than the committed one."""
    try:
        checkpoint, warnings = Checkpoints(Path(RUN)).newest()
    except Error as error:
        return [f"no checkpoint can be read: {error}"]
    problems = warnings if len(warnings) > damaged else []
    step = checkpoint.step if checkpoint else 0
    if step < committed:
        problems.append(f"the checkpoint of step {committed} is lost, step {step} is found")
    return problems


def resume_after_power(scenario: Scenario, where: str, tally: Tally) -> None:
    """Resume the run to its end."""
    tally.resumed += 1
    words = scenario.next_command(tally.resumed)
    result = run(words)
    tally.fail(wrong_results(scenario, result), f"{where}: then {' '.join(words[:2])}", result.output)


# The proof.


@cache
def prepare() -> None:
    """Import everything, and make each scenario's folder and results."""
    warm(*COMMANDS)
    enter_workplace()
    for scenario in (*SCENARIOS, EVENTS):
        scenario.prepare()


def main(argv: Sequence[str]) -> int:
    """Run the proof; returns the exit code, 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="crash_points", description=__doc__.partition("\n")[0])
    parser.add_argument("--every", type=int, default=1, help="only every N-th call; 0 for none")
    parser.add_argument("--offset", type=int, default=0, help="which of them")
    parser.add_argument("--power", type=int, default=10_000, help="states after a loss of power")
    parser.add_argument("--resume-every", type=int, default=10, help="resume every N-th of these states")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ways", nargs="*", help="only these ways to fail: kill, EIO, ...")
    parser.add_argument("--stop", action="store_true", help="stop at the first wrong result")
    args = parser.parse_args(argv)
    prepare()
    started = time.perf_counter()
    tally = Tally(args.stop)
    try:
        try_all(args, tally)
    except FirstWrong:
        print("stopped at the first wrong result")
    tally.show(time.perf_counter() - started)
    return 1 if tally.wrong else 0


def try_all(args: argparse.Namespace, tally: Tally) -> None:
    """Try what the arguments ask for in each scenario."""
    rng = Random(args.seed)
    ways = [way for way in WAYS if not args.ways or way[0] in args.ways]
    for scenario in SCENARIOS:
        calls = [call for call in scenario.record() if not_events(call.path)]
        if args.every:
            try_points(scenario, calls, ways, args.every, args.offset, tally)
        if args.power:
            try_power(scenario, calls, args.power // len(SCENARIOS), args.resume_every, rng, tally)
    if args.every and not args.ways:
        try_events(args.every, tally)
