"""What if a resume forgot one thing? Each thing that a checkpoint holds, or that a resume finds again, by itself."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from dlfound.runs.checkpoints import Checkpoint
from dlfound.runs.state import Session
from dlfound.training.loggers import NoLogger, TensorBoard

INSIDE = ("symptoms", "files", "seconds")  # parts of the state that hold several things
TIMES = (
    "seconds.epoch",
    "seconds.train",
    "seconds.total",
)  # nothing but the report's times follows from them
OTHER = {  # what a session that begins has too: instead of forgotten, it is taken for another
    "threads": 2,
    "machine": {},
    "exact": False,
    "fingerprint": "another",
    "settings": {},
    "metrics": "another",
}
Install = Callable[[], None]


def things_in(kept: Checkpoint) -> list[str]:
    """The name of each thing in a checkpoint that is not empty."""
    names = [f"tensor {name}" for name, tensor in kept.tensors.items() if tensor.numel()]
    for key, value in kept.state.items():
        names += [f"{key}.{name}" for name in value] if key in INSIDE else [key]
    return names


def forget(thing: str) -> Install:
    """For a process of its own: from now on a resume has this thing as a session that begins has it."""

    def install() -> None:
        if thing in AROUND:
            AROUND[thing]()
            return
        whole = Session.resume

        def resume(self: Session, kept: Checkpoint) -> None:
            whole(self, _without(thing, kept, _beginning(self)))

        Session.resume = resume

    return install


class _Caught:
    """Takes a checkpoint instead of writing it."""

    def save(self, step: int, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
        self.kept = Checkpoint(step, {name: t.clone() for name, t in tensors.items()}, state)


def _beginning(session: Session) -> Checkpoint:
    """What the session would save now."""
    own, caught = session.checkpoints, _Caught()
    session.checkpoints, session.recorder = caught, NoLogger(session.folder.path, None)  # its own comes later
    session._save()
    session.checkpoints = own
    return caught.kept


def _without(thing: str, kept: Checkpoint, fresh: Checkpoint) -> Checkpoint:
    if thing.startswith("tensor "):
        name = thing.removeprefix("tensor ")
        if name not in kept.tensors:
            return kept
        tensor = fresh.tensors.get(name, torch.zeros_like(kept.tensors[name]))
        return replace(kept, tensors={**kept.tensors, name: tensor})
    if thing in OTHER:
        return replace(kept, state={**kept.state, thing: OTHER[thing]})
    key, _, name = thing.partition(".")
    value = {**kept.state[key], name: fresh.state[key][name]} if key in INSIDE else fresh.state[key]
    return replace(kept, state={**kept.state, key: value})


def _afterwards(change: Callable[[Session], None]) -> Install:
    """After a resume, set something back."""

    def install() -> None:
        whole = Session.resume

        def resume(self: Session, kept: Checkpoint) -> None:
            whole(self, kept)
            change(self)

        Session.resume = resume

    return install


def _decay(session: Session) -> None:
    session.decay = session.config.build("lr_decay")(session.config["train"]["epochs"])


def _stopping(session: Session) -> None:
    session.stopping = session.config.build("early_stopping")()


def _best_value(session: Session) -> None:
    session.best.value = math.inf


def _best_epoch(session: Session) -> None:
    session.best.epoch = 0


def _no_purge() -> None:
    whole = TensorBoard.__init__
    TensorBoard.__init__ = lambda self, folder, done: whole(self, folder, None)


def _resumed(session: Session) -> None:
    session.resumed = False


AROUND: dict[str, Install] = {  # not in a checkpoint: follows from metrics.jsonl, or is done on the way
    "decay, from metrics.jsonl": _afterwards(_decay),
    "stopping, from metrics.jsonl": _afterwards(_stopping),
    "best value, from metrics.jsonl": _afterwards(_best_value),
    "best epoch, from metrics.jsonl": _afterwards(_best_epoch),
    "that it is no start": _afterwards(_resumed),
    "TensorBoard's purge": _no_purge,
}
