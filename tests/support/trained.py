"""Runs that are trained once in a session: tests read them, or copy them to change the copy."""

import contextlib
import shutil
from pathlib import Path

import dlfound

SHORT = ["train.epochs=2", "early_stopping=none", "lr_decay=none", "model.hidden=[8]", "logger=none"]
MOONS = [*SHORT, "data=moons"]
LONG = ["train.epochs=9", "early_stopping=none", "lr_decay=none", "model.hidden=[12]", "train.batch_size=16"]
NOISY = ["batchnorm=batch", "dropout=standard", "dropout.hidden=0.2"]
DIGITS = [
    "train.epochs=3", "early_stopping=none", "lr_decay=none", "model.hidden=[16]", "train.batch_size=8",
]  # fmt: skip
SIX = [
    "data=moons", "data.rows=80", "model.hidden=[8]", "dropout=standard", "dropout.hidden=0.2",
    "train.checkpoint=2",
    "train.batch_size=16", "train.epochs=6", "lr_decay=none", "early_stopping=none", "run.threads=1",
    "logger=none",
]  # fmt: skip

WIDE = [
    "data=moons", "data.rows=80", "model.hidden=[64,64]", "train.epochs=4", "train.checkpoint=1",
    "lr_decay=none",
    "early_stopping=none", "run.threads=1", "logger=none",
]  # fmt: skip

# Kind of run -> its overrides. "digits" has curves; "six" has checkpoints after the epochs 2, 4 and 6; those
# of "wide" have more than 64 kB.
KINDS = {
    "adam": MOONS,
    "momentum": [*MOONS, "optim=momentum", "optim.lr=0.05", "model.hidden=[16]"],
    "dropout": [*MOONS, "dropout=standard", "dropout.hidden=0.2"],
    "diverged": [*MOONS, "optim=sgd", "optim.lr=1e25"],
    "sine": [*SHORT, "data=sine", "train.monitor=r2"],
    "digits": DIGITS,
    "six": SIX,
    "wide": WIDE,
    "long": LONG,
    "noisy": [*LONG, *NOISY],
}


class TrainedRuns:
    """One run of each kind, trained when a test first asks for it."""

    def __init__(self, folder: Path):
        self._folder = folder

    def path(self, kind: str) -> Path:
        """Return the folder of a run, which must not be changed."""
        folder = self._folder / kind
        if not folder.exists():
            folder.mkdir()
            with contextlib.chdir(folder), contextlib.suppress(dlfound.Error):  # "diverged" raises
                dlfound.train([*KINDS[kind], "run.dir=mine"])
        return folder / "mine"

    def copy(self, kind: str, to: str | Path = "mine") -> Path:
        """Copy a run; the copy is as if it had been trained there."""
        return Path(shutil.copytree(self.path(kind), to))
