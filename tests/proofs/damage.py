"""Damaged and odd checkpoints: what was not written so must never be trained on.

First, files whose bytes are wrong: the loader must set them aside and take the intact one before, or refuse where none
is left. Then, files that are whole and rightly named but say odd things: `dlfound train resume=RUN` must refuse them in
words, or end with the bytes of a run that nobody touched.

python tests/proofs/damage.py                    10,000 damaged files, and every odd one
python tests/proofs/damage.py --count 300 --every 8
"""

import argparse
import copy
import json
import os
import resource
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import torch
from disk import KILLED
from safetensors.torch import load
from trainings import PLACE, RUN, WORDS, contents, learn, run, warm, workplace

from dlfound.errors import Code, Error
from dlfound.runs.checkpoints import Checkpoint, Checkpoints

FRESH = (*WORDS, "train.epochs=3", "logger=none")
OTHER = (*FRESH, "run.seed=1")
STEEPER = (*FRESH, "optim.lr=0.01")
WIDER = (*FRESH, "model.hidden=[5]")
RESUME = ("train", f"resume={RUN}")
MEMORY = 64 * 2**20  # bytes by which this process may grow over all damaged files
TOLD = ("symptoms.", "warnings", "machine", "exact")  # what only says something
FREE = ("threads =", "outputs: nan")  # what could as well be true: for values a digest vouches
VICTIM = Path(PLACE, "victim")  # a file that no checkpoint has a say in

Files = list[tuple[str, bytes]]  # (name, content), the oldest first


@dataclass
class Tally:
    """What was tried, and what went wrong."""

    kinds: Counter = field(default_factory=Counter)
    ends: Counter = field(default_factory=Counter)
    wrong: int = 0

    def fail(self, what: str, said: str = "") -> None:
        """Write down what went wrong."""
        self.wrong += 1
        print(f"WRONG {what}\n{said}".rstrip(), flush=True)


# Wrong bytes. Each takes a name, its content, the files of two runs, and returns another name and content.


def flip(name: str, content: bytes, others: list[bytes], rng: Random) -> tuple[str, bytes]:
    """One bit, or a few."""
    damaged = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return name, bytes(damaged)


def cut(name: str, content: bytes, others: list[bytes], rng: Random) -> tuple[str, bytes]:
    """The end is missing."""
    return name, content[: rng.randrange(len(content))]


def grow(name: str, content: bytes, others: list[bytes], rng: Random) -> tuple[str, bytes]:
    """Something stands behind it."""
    return name, content + rng.randbytes(rng.choice((1, 8, 5000)))


def empty(name: str, content: bytes, others: list[bytes], rng: Random) -> tuple[str, bytes]:
    """No bytes, or as many zeros."""
    return name, rng.choice((b"", bytes(len(content)), bytes(4096)))


def blank(name: str, content: bytes, others: list[bytes], rng: Random) -> tuple[str, bytes]:
    """A block that was never written."""
    start = rng.randrange(len(content))
    size = min(rng.choice((1, 64, 512, 4096)), len(content) - start)
    return name, content[:start] + bytes(size) + content[start + size :]


def splice(name: str, content: bytes, others: list[bytes], rng: Random) -> tuple[str, bytes]:
    """The beginning of one, the end of another."""
    at, other = rng.randrange(1, len(content)), rng.choice(others)
    return name, rng.choice((content[:at] + other[at:], other[:at] + content[at:]))


def mistake(name: str, content: bytes, others: list[bytes], rng: Random) -> tuple[str, bytes]:
    """Another file under this name."""
    return name, rng.choice((*others, b"a line of text\n", b"PK\x03\x04" + bytes(100), rng.randbytes(2000)))


def header(name: str, content: bytes, others: list[bytes], rng: Random) -> tuple[str, bytes]:
    """A wrong length of the header."""
    length = rng.choice((0, 1, 2**31, 2**32 + 5, 2**63, 2**64 - 1, len(content), rng.randrange(5000)))
    return name, length.to_bytes(8, "little") + content[8:]


def rename(name: str, content: bytes, others: list[bytes], rng: Random) -> tuple[str, bytes]:
    """Another digest in the name."""
    digest = f"{rng.getrandbits(64):016x}"
    return name.replace(name.split("-")[2].partition(".")[0], digest), content


DAMAGES = (flip, cut, grow, empty, blank, splice, mistake, header, rename)


def try_damage(files: Files, others: list[bytes], number: int, rng: Random, tally: Tally) -> None:
    """Damage the newest, or both, and load."""
    damage, both = DAMAGES[number % len(DAMAGES)], rng.random() < 0.25
    spoilt = [damage(*file, others, rng) if both or i else file for i, file in enumerate(files)]
    if any(spoilt[i] == files[i] for i in range(2) if both or i):
        return
    tally.kinds[damage.__name__] += 1
    for wrong in wrong_choice(files, spoilt, both):
        tally.fail(f"{damage.__name__} of {'both' if both else 'the newest'}, number {number}: {wrong}")


def wrong_choice(files: Files, spoilt: Files, both: bool) -> list[str]:
    """What is wrong with what the loader makes of them."""
    folder = Path(RUN, "checkpoints")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in spoilt:
        (folder / name).write_bytes(content)
    try:
        found, told = Checkpoints(Path(RUN)).newest()
    except Error as error:
        return [] if both and error.code == Code.RUN else [f"refused: {error}"]
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]
    if both or found is None:
        return ["it is used"]
    wrong = [] if len(told) == 1 else [f"told {told}"]
    wrong += [] if same(found, loaded(files[0])) else ["the one before is not what it was"]
    bad = folder / f"{spoilt[1][0]}.bad"
    return wrong + ([] if bad.is_file() and bad.read_bytes() == spoilt[1][1] else ["it is not set aside"])


def loaded(file: tuple[str, bytes]) -> Checkpoint:
    """What a whole file holds, read on another way."""
    name, content = file
    size = int.from_bytes(content[:8], "little")
    state = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["dlfound"])
    return Checkpoint(int(name.split("-")[1]), load(content), state)


def same(a: Checkpoint, b: Checkpoint) -> bool:
    """True where they are equal, to the byte."""
    tensors = a.tensors.keys() == b.tensors.keys() and all(
        t.dtype == b.tensors[k].dtype and t.numpy().tobytes() == b.tensors[k].numpy().tobytes()
        for k, t in a.tensors.items()
    )
    return tensors and (a.step, a.state) == (b.step, b.state)


# Odd contents, rightly named.

VALUES = (
    None, True, -1, 0, 1, 2, 7, 1.5, 1e300, 10**30, "", "x", "\x1b[31m", "../victim", [], [1], [[]], {}, {"a": 1},
    {"../victim": 0}, {"../../victim": 0},
)  # fmt: skip
SPOILS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "one more": lambda t: torch.cat([t.reshape(-1), t.reshape(-1)[:1]]),
    "one less": lambda t: t.reshape(-1)[1:],
    "none": lambda t: t.reshape(-1)[:0],
    "in a row": lambda t: t[None],
    "float64": lambda t: t.double(),
    "int64": lambda t: t.long(),
    "bool": lambda t: t.bool(),
    "complex": lambda t: t.to(torch.complex64),
    "nan": lambda t: torch.full_like(t, torch.nan) if t.is_floating_point() else ~t,
}


def odd_ones(kept: Checkpoint) -> Iterator[tuple[str, Checkpoint]]:
    """Every part of the state missing or of another kind; every tensor missing or of another form."""
    for path in paths(kept.state):
        yield f"{'.'.join(path)} missing", Checkpoint(kept.step, kept.tensors, changed(kept.state, path))
        for value in VALUES:
            yield (
                f"{'.'.join(path)} = {value!r}",
                Checkpoint(kept.step, kept.tensors, changed(kept.state, path, value)),
            )
    for name, tensor in kept.tensors.items():
        rest = {k: t for k, t in kept.tensors.items() if k != name}
        yield f"{name} missing", Checkpoint(kept.step, rest, kept.state)
        for how, spoil in SPOILS.items():
            yield f"{name}: {how}", Checkpoint(kept.step, rest | {name: spoil(tensor)}, kept.state)
    yield "a tensor more", Checkpoint(kept.step, kept.tensors | {"more": torch.zeros(1)}, kept.state)
    yield "a part more", Checkpoint(kept.step, kept.tensors, kept.state | {"more": 1})
    yield "no state", Checkpoint(kept.step, kept.tensors, {})
    yield "no tensors", Checkpoint(kept.step, {}, kept.state)
    yield "a later step", Checkpoint(kept.step + 1, kept.tensors, kept.state)


def paths(state: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """The way to every part, and to the parts of parts."""
    for name, value in state.items():
        yield (name,)
        if isinstance(value, dict):
            yield from ((name, inner) for inner in value)


def changed(state: dict[str, Any], path: tuple[str, ...], *value: Any) -> dict[str, Any]:
    """The state with another value there, or without it."""
    state = copy.deepcopy(state)
    place = state if len(path) == 1 else state[path[0]]
    place.pop(path[-1])
    return state | {path[0]: value[0]} if value and len(path) == 1 else _filled(state, path, value)


def _filled(state: dict[str, Any], path: tuple[str, ...], value: tuple) -> dict[str, Any]:
    if value:
        state[path[0]][path[1]] = value[0]
    return state


def try_odd(name: str, odd: Checkpoint, wanted: dict[str, object], tally: Tally) -> None:
    """Put it in the place of the newest, and go on."""
    fill(Path("killed"))
    VICTIM.write_text("precious")
    for path in Path(RUN, "checkpoints").glob("step-*"):
        path.unlink()
    Checkpoints(Path(RUN)).save(odd.step, odd.tensors, odd.state)
    result = run(RESUME)
    tally.ends[result.code] += 1
    refused = result.code in (3, 4, 5) and "error[" in result.said and "Traceback" not in result.said
    if result.code != 0 and not refused:
        tally.fail(f"{name}: exit code {result.code}", result.said)
    if result.code == 0 and not name.startswith(FREE):
        found = contents(Path(RUN))
        for part in wanted:
            if found[part] != wanted[part] and not (part == "report.json" and name.startswith(TOLD)):
                tally.fail(f"{name}: it is used, and {part} is another in the end", result.said)
    if not VICTIM.exists() or VICTIM.read_text() != "precious":
        tally.fail(f"{name}: another file was changed")


# Material.


def clear() -> None:
    """An empty place."""
    shutil.rmtree(PLACE, ignore_errors=True)
    Path(PLACE).mkdir()


def fill(kept: Path) -> None:
    """A kept place again."""
    shutil.rmtree(PLACE, ignore_errors=True)
    shutil.copytree(kept, PLACE)


def killed_run(words: tuple[str, ...], step: int, folder: str = "") -> Files:
    """The checkpoints of a run killed after it wrote that of a step; the run is kept in a folder."""
    clear()

    def before() -> None:
        save = Checkpoints.save

        def last(self: Checkpoints, at: int, *content: Any) -> None:
            save(self, at, *content)
            if at == step:
                os._exit(KILLED)

        Checkpoints.save = last

    result = run(words, before)
    assert result.code == KILLED, result.said
    if folder:
        shutil.copytree(PLACE, folder)
    return [(p.name, p.read_bytes()) for p in sorted(Path(RUN, "checkpoints").glob("step-*"))]


def foreign_ones() -> Iterator[tuple[str, Checkpoint]]:
    """Checkpoints of other runs."""
    for name, words in {"another seed": OTHER, "a wider net": WIDER, "another rate": STEEPER}.items():
        for step in (1, 3):
            yield f"step {step} of a run with {name}", loaded(killed_run(words, step)[-1])


def show(tally: Tally, grown: int, seconds: float) -> None:
    """The figures."""
    print(
        f"{sum(tally.kinds.values())} damaged: {', '.join(f'{n} {kind}' for kind, n in tally.kinds.items())}"
    )
    ends = ", ".join(f"{n} x {code}" for code, n in sorted(tally.ends.items()))
    print(f"{sum(tally.ends.values())} odd ones; exit codes: {ends}")
    print(f"{tally.wrong} wrong; {grown / 2**20:.1f} MiB more memory; {seconds:.0f} s")


def main() -> int:
    """All of it; exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000, help="damaged files")
    parser.add_argument("--every", type=int, default=1, help="only every so many-th odd one; 0 for none")
    parser.add_argument("--only", default="", help="odd ones whose name begins so")
    parser.add_argument("--seed", type=int, default=0)
    args, began, tally, rng = (a := parser.parse_args()), time.perf_counter(), Tally(), Random(a.seed)
    warm(FRESH)
    learn(FRESH, OTHER, WIDER, STEEPER, RESUME)
    with workplace():
        clear()
        run(FRESH)
        wanted = contents(Path(RUN))
        others = [content for _, content in killed_run(OTHER, 3)]
        files = killed_run(FRESH, 3, "killed")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        number = 0
        while sum(tally.kinds.values()) < args.count:
            try_damage(files, others, number, rng, tally)
            number += 1
        grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        if grown > MEMORY:
            tally.fail(f"{grown / 2**20:.0f} MiB more memory than before")
        odd = [*odd_ones(loaded(files[-1])), *foreign_ones()] if args.every else []
        for name, checkpoint in [one for one in odd if one[0].startswith(args.only)][:: args.every or 1]:
            try_odd(name, checkpoint, wanted, tally)
    show(tally, grown, time.perf_counter() - began)
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
