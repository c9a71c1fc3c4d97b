"""Damage checkpoints, or write invalid ones: dlfound must never train on them.

First, files with wrong bytes: dlfound must set them aside and take the intact checkpoint before, or refuse
if both are damaged. Then, whole files with the right name and odd contents: `dlfound train resume=RUN` must
refuse them with a message, or end with the results of an undisturbed run.

python tests/proofs damage                    10,000 damaged files, and every odd one
python tests/proofs damage --count 300 --every 8
"""

import argparse
import json
import os
import resource
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from safetensors.torch import load

from dlfound.errors import Code, Error
from dlfound.runs.checkpoints import Checkpoint, Checkpoints
from proofs.disk import KILLED
from proofs.odd_checkpoints import Odd, odd_checkpoints
from proofs.same import results_of
from proofs.scenarios import clear
from proofs.trainings import PLACE, RUN, WORDS, enter_workplace, run, warm
from proofs.wrong_bytes import DAMAGES, File

FRESH = (*WORDS, "train.epochs=3", "logger=none")
FOREIGN = {
    "another seed": (*FRESH, "run.seed=1"),
    "a wider net": (*FRESH, "model.hidden=[5]"),
    "another learning rate": (*FRESH, "optim.lr=0.01"),
}
RESUME = ("train", f"resume={RUN}")
STEP = 3  # of the checkpoint that is damaged: in the middle of an epoch
MEMORY = 64 * 2**20  # bytes by which this process may grow over all damaged files
VICTIM = Path(PLACE, "victim")  # a file that no checkpoint may change

# Parts that only say something: another value of the right kind changes nothing but the report.
REPORTED = ("symptoms", "warnings", "machine.versions", "machine.exact = False")
# Values that could as well be true, so that only the digest vouches for them.
POSSIBLE = ("machine.threads =", "progress.outputs: nan")


@dataclass
class Tally:
    """What was tried, and what went wrong."""

    damages: Counter = field(default_factory=Counter)
    ends: Counter = field(default_factory=Counter)
    wrong: int = 0

    def fail(self, problem: str, output: str = "") -> None:
        """Report a problem."""
        self.wrong += 1
        print(f"WRONG {problem}\n{output}".rstrip(), flush=True)

    def show(self, grown: int, seconds: float) -> None:
        """Print the counts."""
        listed = ", ".join(f"{n} {damage}" for damage, n in self.damages.items())
        print(f"{sum(self.damages.values())} damaged: {listed}")
        ends = ", ".join(f"{n} x {code}" for code, n in sorted(self.ends.items()))
        print(f"{sum(self.ends.values())} odd ones; exit codes: {ends}")
        print(f"{self.wrong} wrong; {grown / 2**20:.1f} MiB more memory; {seconds:.0f} s")


# Wrong bytes.


def try_damage(files: list[File], others: list[bytes], number: int, rng: Random, tally: Tally) -> None:
    """Damage the newest checkpoint, or both, and load."""
    damage = DAMAGES[number % len(DAMAGES)]
    both = rng.random() < 0.25
    damaged = [damage(file, others, rng) if both or i else file for i, file in enumerate(files)]
    if any(damaged[i] == files[i] for i in range(2) if both or i):
        return
    tally.damages[damage.__name__] += 1
    for problem in wrong_choice(files, damaged, both):
        which = "both" if both else "the newest"
        tally.fail(f"{damage.__name__} of {which}, number {number}: {problem}")


def wrong_choice(files: list[File], damaged: list[File], both: bool) -> list[str]:
    """What is wrong with the checkpoint that is loaded."""
    folder = Path(RUN, "checkpoints")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in damaged:
        (folder / name).write_bytes(content)
    try:
        checkpoint, warnings = Checkpoints(Path(RUN)).newest()
    except Error as error:
        return [] if both and error.code == Code.RUN else [f"refused: {error}"]
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]
    if both or checkpoint is None:
        return ["it is used"]
    problems = [] if len(warnings) == 1 else [f"warnings: {warnings}"]
    if not same(checkpoint, read(files[0])):
        problems.append("the one before is not what it was")
    aside = folder / f"{damaged[1][0]}.bad"
    if not aside.is_file() or aside.read_bytes() != damaged[1][1]:
        problems.append("it is not set aside")
    return problems


def read(file: File) -> Checkpoint:
    """The content of an intact file, read in another way."""
    name, content = file
    size = int.from_bytes(content[:8], "little")
    state = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["dlfound"])
    return Checkpoint(int(name.split("-")[1]), load(content), state)


def same(a: Checkpoint, b: Checkpoint) -> bool:
    """True if two checkpoints are equal, to the byte."""
    return (a.step, a.state, _bits(a)) == (b.step, b.state, _bits(b))


def _bits(checkpoint: Checkpoint) -> dict[str, tuple]:
    return {name: (t.dtype, t.shape, t.numpy().tobytes()) for name, t in checkpoint.tensors.items()}


# Odd contents.


def try_odd(name: str, odd: Checkpoint, wanted: dict[str, object], tally: Tally) -> None:
    """Replace the newest checkpoint by an odd one, and resume."""
    clear()
    shutil.copytree("killed", PLACE, dirs_exist_ok=True)
    VICTIM.write_text("precious")
    for path in Path(RUN, "checkpoints").glob("step-*"):
        path.unlink()
    Checkpoints(Path(RUN)).save(odd.step, odd.tensors, odd.state)
    result = run(RESUME)
    tally.ends[result.code] += 1
    refused = result.code in (3, 4, 5) and "error[" in result.output and "Traceback" not in result.output
    if result.code != 0 and not refused:
        tally.fail(f"{name}: exit code {result.code}", result.output)
    if result.code == 0 and not name.startswith(POSSIBLE):
        results = results_of(Path(RUN))
        for part in wanted:
            free = part == "report" and name.startswith(REPORTED)
            if results[part] != wanted[part] and not free:
                tally.fail(f"{name}: it is used, and {part} differs in the end", result.output)
    if not VICTIM.exists() or VICTIM.read_text() != "precious":
        tally.fail(f"{name}: another file was changed")


def killed_run(words: tuple[str, ...], step: int) -> list[File]:
    """The checkpoints of a run that was killed after it wrote the one of a step."""
    clear()

    def before() -> None:
        save = Checkpoints.save

        def save_last(self: Checkpoints, at: int, *content: Any) -> None:
            save(self, at, *content)
            if at == step:
                os._exit(KILLED)

        Checkpoints.save = save_last

    result = run(words, before)
    assert result.code == KILLED, result.output
    return [(path.name, path.read_bytes()) for path in sorted(Path(RUN, "checkpoints").glob("step-*"))]


def foreign_ones() -> Iterator[Odd]:
    """Checkpoints of other runs."""
    for name, words in FOREIGN.items():
        for step in (1, STEP):
            yield f"step {step} of a run with {name}", read(killed_run(words, step)[-1])


# The proof.


@dataclass(frozen=True)
class Material:
    """What is damaged: the results of an undisturbed run, and the checkpoints of two killed runs."""

    wanted: dict[str, object]
    files: list[File]
    others: list[bytes]
    odd: list[Odd]


@cache
def prepare() -> Material:
    """Import everything, and make the runs; the killed run is in the folder `killed`."""
    warm(FRESH, RESUME, *FOREIGN.values())
    enter_workplace()
    clear()
    run(FRESH)
    wanted = results_of(Path(RUN))
    others = [content for _, content in killed_run(FOREIGN["another seed"], STEP)]
    files = killed_run(FRESH, STEP)
    shutil.copytree(PLACE, "killed")
    return Material(wanted, files, others, [*odd_checkpoints(read(files[-1])), *foreign_ones()])


def main(argv: Sequence[str]) -> int:
    """Run the proof; returns the exit code, 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="damage", description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000, help="damaged files")
    parser.add_argument("--every", type=int, default=1, help="only every N-th odd one; 0 for none")
    parser.add_argument("--only", default="", help="odd ones whose name begins like this")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    material = prepare()
    started = time.perf_counter()
    tally = Tally()
    grown = try_damages(material, args.count, Random(args.seed), tally)
    odd = [one for one in material.odd if one[0].startswith(args.only)] if args.every else []
    for name, checkpoint in odd[:: args.every or 1]:
        try_odd(name, checkpoint, material.wanted, tally)
    tally.show(grown, time.perf_counter() - started)
    return 1 if tally.wrong else 0


def try_damages(material: Material, count: int, rng: Random, tally: Tally) -> int:
    """Try damaged files; returns the bytes by which this process grew."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    number = 0
    while sum(tally.damages.values()) < count:
        try_damage(material.files, material.others, number, rng, tally)
        number += 1
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    if grown > MEMORY:
        tally.fail(f"{grown / 2**20:.0f} MiB more memory than before")
    return grown
