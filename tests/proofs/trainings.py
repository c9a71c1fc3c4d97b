"""Whole runs of `dlfound train` in child processes of a warm process.

The warm process has imported everything, computes with one thread, and never calls backward(): a child forked
from it behaves like a process of its own, and starts 50 times as fast.
"""

import atexit
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

import dlfound.commands.train  # noqa: F401 (a child needs it)
from dlfound.options.configure import configure
from dlfound.runs import checkpoints
from dlfound.runs.train import load_data
from dlfound.training.assemble import assemble, resolve
from dlfound.training.metrics import evaluate
from proofs.forked import begin, do_nothing, settle_threads

PLACE = "place"  # the folder on the simulated disk
RUN = f"{PLACE}/xor/run"
SECONDS = 60  # a child that takes longer hangs
WORDS = (
    "train", f"run.dir={RUN}", "data=xor", "data.rows=60", "model.hidden=[4]", "dropout=standard",
    "batchnorm=batch", "train.batch_size=32", "lr_decay=none", "early_stopping=none", "run.threads=1",
)  # fmt: skip


@dataclass(frozen=True)
class Result:
    """The exit code of a child, negative for a signal, and its output."""

    code: int
    output: str


def warm(*commands: Sequence[str]) -> None:
    """Import what the commands need, compose the configurations, and save checkpoints at each step."""
    checkpoints.SOONEST = checkpoints.SHARE = 0
    for words in commands:
        configure([word for word in words[1:] if not word.startswith("resume=")])
    config = configure(commands[0][1:])
    dataset = load_data(config)
    settled, _ = resolve(config, dataset.task)
    assembly = assemble(settled, dataset, torch.device("cpu"))
    evaluate(assembly.network, assembly.loss, assembly.parts["val"])
    settle_threads(lambda: run(["--version"]))


def run(
    words: Sequence[str], before: Callable[[], None] = do_nothing, after: Callable[[], None] = do_nothing
) -> Result:
    """Run a command of dlfound in a child process, which also calls `before` and `after`."""
    with tempfile.NamedTemporaryFile() as log:

        def start() -> None:
            signal.alarm(SECONDS)
            before()

        child = begin(words[0], words[1:], Path(log.name), start, after)
        _, status = os.waitpid(child, 0)
        output = Path(log.name).read_text(encoding="utf-8", errors="replace")
    return Result(os.waitstatus_to_exitcode(status), output)


def enter_workplace() -> None:
    """Change to a new folder, in memory if possible; it is removed when this process ends."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = tempfile.mkdtemp(prefix="proof-", dir=memory)
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    os.chdir(path)


def left_over(path: Path) -> list[str]:
    """Files that should be gone at the end of a run."""
    return [str(p.relative_to(path)) for p in path.rglob("*") if re.match(r"\.tmp-|.*\.bad$", p.name)]
