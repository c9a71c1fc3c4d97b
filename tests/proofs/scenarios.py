"""The commands whose calls are struck, and the folders that they find."""

import ast
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from proofs.disk import Call, Disk, Fault, not_events
from proofs.same import results_of
from proofs.trainings import PLACE, RUN, WORDS, Result, run
from proofs.watch import Watch

FRESH = (*WORDS, "train.epochs=2", "logger=none")
LONGER = (*WORDS, "train.epochs=3", "logger=none")
DRAWN = (*WORDS, "train.epochs=2")
RESUME = ("train", f"resume={RUN}")
EXTEND = ("train", f"resume={RUN}", "train.epochs=3")
COMMANDS = (FRESH, LONGER, DRAWN, RESUME, EXTEND)


@dataclass
class Scenario:
    """A command, the folder that it finds, and the results that it must have in the end.

    Attributes:
        begin: makes the folder.
        again: the commands that continue a struck run, in turn; the last one can also begin it.
        undisturbed: the command of a run with the same results.
        damaged: True if a checkpoint in the folder is damaged.
        kept: a copy of the folder.
        wanted: the results.
    """

    name: str
    words: tuple[str, ...]
    begin: Callable[[], None]
    again: tuple[tuple[str, ...], ...]
    undisturbed: tuple[str, ...] = FRESH
    damaged: bool = False
    kept: Path = Path()
    wanted: dict[str, object] = field(default_factory=dict)

    def prepare(self) -> None:
        """Make the folder and the results once; call it where no call fails."""
        clear()
        run(self.undisturbed)
        self.wanted = results_of(Path(RUN))
        self.begin()
        self.kept = Path("kept", self.name).absolute()
        shutil.move(PLACE, self.kept)

    def reset(self) -> None:
        """Restore the folder."""
        shutil.rmtree(PLACE, ignore_errors=True)
        shutil.copytree(self.kept, PLACE)

    def record(self) -> list[Call]:
        """The calls of the command."""
        self.reset()
        return record(self.words)

    def next_command(self, number: int) -> tuple[str, ...]:
        """A command that continues the run."""
        is_run = Path(RUN, "config.yaml").exists()
        return self.again[number % len(self.again) if is_run else -1]


def clear() -> None:
    """Begin without a run."""
    shutil.rmtree(PLACE, ignore_errors=True)
    Path(PLACE).mkdir()


def begin_killed() -> None:
    """Kill a run in the middle of its last checkpoint but one: the other files have lines too many."""
    clear()
    calls = [call for call in record(FRESH) if not_events(call.path)]
    writes = [i for i, call in enumerate(calls) if call.kind == "write" and "checkpoints" in call.path]
    clear()
    strike(FRESH, Fault(writes[-2], "half", only=not_events))


def begin_damaged() -> None:
    """Kill a run in the same way, and flip a bit of its newest checkpoint."""
    begin_killed()
    path = sorted(Path(RUN, "checkpoints").glob("step-*"))[-1]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def begin_finished() -> None:
    """Finish a run."""
    clear()
    run(FRESH)


SCENARIOS = (
    Scenario("a new run", FRESH, clear, (RESUME, FRESH)),
    Scenario("a killed run, resumed", RESUME, begin_killed, (RESUME, FRESH)),
    Scenario("the newest checkpoint damaged", RESUME, begin_damaged, (RESUME, FRESH), damaged=True),
    Scenario("a finished run, extended", EXTEND, begin_finished, (EXTEND, LONGER), undisturbed=LONGER),
)
EVENTS = Scenario("TensorBoard's files", DRAWN, clear, (DRAWN,), undisturbed=DRAWN)


def record(words: tuple[str, ...]) -> list[Call]:
    """The calls of a whole run.

    Raises:
        SystemExit: the run failed, or made calls that no fault could strike.
    """
    file = Path("calls").absolute()
    seen: list = []

    def before() -> None:
        disk = Disk(PLACE).install()
        seen.extend([disk, Watch(disk)])

    def after() -> None:
        disk, watch = seen
        file.write_text(repr((watch.seen == watch.counted(), [tuple(vars(c).values()) for c in disk.calls])))

    result = run(words, before, after)
    if result.code:
        raise SystemExit(f"{' '.join(words)} ended with exit code {result.code}\n{result.output}")
    complete, calls = ast.literal_eval(file.read_text())
    if not complete:
        raise SystemExit("some calls bypassed the disk: see watch.py")
    return [Call(*call) for call in calls]


def strike(words: tuple[str, ...], fault: Fault) -> Result:
    """Run a command on a disk that fails."""
    return run(words, lambda: Disk(PLACE, fault).install())
