"""Whole runs of the real command, each in a child of one warm process; and whether two of them are the same.

The parent reads everything in, computes with one thread, and never calls backward(): a fork of it is as good as a
process of its own, and 50 times as fast to start.
"""

import contextlib
import io
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

import dlfound.cli
import dlfound.commands.train
from dlfound.options.configure import configure
from dlfound.runs import state as session
from dlfound.runs.train import load_data
from dlfound.training.assemble import assemble, resolve
from dlfound.training.metrics import evaluate

PLACE = "place"  # the folder that a disk is put under
RUN = f"{PLACE}/xor/run"
SECONDS = 60  # a child that takes longer hangs
WORDS = (
    "train", f"run.dir={RUN}", "data=xor", "data.rows=60", "model.hidden=[4]", "dropout=standard", "batchnorm=batch",
    "train.batch_size=32", "lr_decay=none", "early_stopping=none", "run.threads=1",
)  # fmt: skip
DISK = "the run goes on without|curves cannot be written|checkpoint of step .* is damaged"  # warnings of what was done
TIMES = ("seconds", "samples_per_second", "command")  # of report.json: all that may differ


@dataclass(frozen=True)
class Result:
    """What a child left: its exit code, negative for a signal, and what it printed."""

    code: int
    said: str


def warm(words: Sequence[str]) -> None:
    """Read in all that a child will need, and settle how often it writes a checkpoint: at every step."""
    torch.set_num_threads(1)
    session.SOONEST = session.SHARE = 0
    config = configure(words[1:])
    dataset = load_data(config)
    settled, _ = resolve(config, dataset.task)
    assembly = assemble(settled, dataset, torch.device("cpu"))
    evaluate(assembly.network, assembly.loss, assembly.parts["val"])
    run(["--version"])  # at its first fork NumPy's library ends its threads
    assert len(os.listdir("/proc/self/task")) == 1, "a fork would lose threads"


def learn(*commands: Sequence[str]) -> None:
    """Compose the configurations of these commands here, so that each child has parsed their overrides already."""
    for words in commands:
        configure([word for word in words[1:] if not word.startswith("resume=")])


def nothing() -> None:
    """No call."""


def run(
    words: Sequence[str], before: Callable[[], None] = nothing, after: Callable[[], None] = nothing
) -> Result:
    """The command in a child, in this folder; `before` and `after` are called there."""
    with tempfile.TemporaryFile() as said:
        if (child := os.fork()) == 0:
            _child(words, before, after, said.fileno())
        _, status = os.waitpid(child, 0)
        said.seek(0)
        return Result(os.waitstatus_to_exitcode(status), said.read().decode("utf-8", "replace"))


def _child(words: Sequence[str], before: Callable[[], None], after: Callable[[], None], said: int) -> None:
    code, leave = 1, os._exit
    try:
        signal.alarm(SECONDS)
        sys.stdout = sys.stderr = io.TextIOWrapper(os.fdopen(said, "wb", 0), write_through=True)
        before()
        code = dlfound.cli.main(list(words))
        after()
    except BaseException:
        traceback.print_exc()
    finally:
        leave(code)


@contextlib.contextmanager
def workplace():
    """A folder to stand in, in memory where there is such a place: nothing here depends on a real disk."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    before, path = os.getcwd(), tempfile.mkdtemp(dir=memory)
    os.chdir(path)
    try:
        yield Path(path)
    finally:
        os.chdir(before)
        shutil.rmtree(path, ignore_errors=True)


def contents(path: Path) -> dict[str, object]:
    """What two equal runs have in common, to the byte: the net, metrics.jsonl, the report without times."""
    report = json.loads((path / "report.json").read_text())
    for name in TIMES:
        report.pop(name, None)
    report["warnings"] = [text for text in report["warnings"] if not re.search(DISK, text)]
    last = sorted((path / "checkpoints").glob("step-*.safetensors"))[-1].read_bytes()
    return {
        "model.safetensors": (path / "model.safetensors").read_bytes(),
        "metrics.jsonl": (path / "metrics.jsonl").read_bytes(),
        "schema.json": (path / "schema.json").read_bytes(),
        "report.json": report,
        "last checkpoint": tensors_of(last),
    }


def tensors_of(checkpoint: bytes) -> bytes:
    """The tensors' part of a checkpoint: its header holds times."""
    return checkpoint[8 + int.from_bytes(checkpoint[:8], "little") :]


def left_over(path: Path) -> list[str]:
    """Files that should not be there once a run is over."""
    return [str(p.relative_to(path)) for p in path.rglob("*") if re.match(r"\.tmp-|.*\.bad$", p.name)]
