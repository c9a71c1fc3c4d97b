"""What if a resume forgot one thing? Each field of a checkpoint, and what else a resume restores."""

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from dlfound.runs import opening
from dlfound.runs.checkpoints import Checkpoint
from dlfound.runs.folder import RunFolder
from dlfound.runs.opening import Saved
from dlfound.runs.parts import Training
from dlfound.runs.record import Observer
from dlfound.runs.state import TrainState
from dlfound.training.loggers import TensorBoard

TIMES = (
    "progress.seconds",
    "seconds.train",
    "seconds.total",
)  # only the times in the report follow from them
PROGRESS = ("progress.losses", "progress.norms", "progress.outputs")  # filled in the middle of an epoch only
COMPARED = ("files.digest", "origin.fingerprint", "origin.settings")  # compared with the run's, not restored
OTHER = {  # what a run that begins has too: it is replaced by another value
    "machine.threads": 2,
    "machine.versions": {},
    "machine.exact": False,
    "files.digest": "another",
    "origin.fingerprint": "another",
    "origin.settings": {},
}
Install = Callable[[], None]  # for the process that resumes


def fields_of(state: TrainState) -> list[str]:
    """The names of all fields that hold something, such as `best.params` or `vectors.slots.0`."""
    return [
        name for name, value in _fields(state, "") if not (isinstance(value, Tensor) and not value.numel())
    ]


def _fields(value: Any, head: str) -> Iterator[tuple[str, Any]]:
    for field in fields(value):
        name = f"{head}{field.name}"
        inner = getattr(value, field.name)
        if is_dataclass(inner):
            yield from _fields(inner, f"{name}.")
        elif field.type == list[Tensor]:
            yield from ((f"{name}.{i}", tensor) for i, tensor in enumerate(inner))
        else:
            yield name, inner


def forget(name: str) -> Install:
    """A change to dlfound: a resumed run forgets a field, or one of `AROUND`, as if it had just begun."""
    if name in AROUND:
        return AROUND[name]
    return _forget_comparing(name) if name in COMPARED else _forget_restoring(name)


def _forget_restoring(name: str) -> Install:
    """After the checkpoint was checked: nothing but the results can tell."""

    def install() -> None:
        restore = opening._restore

        def forgetful(saved: Saved, folder: RunFolder, training: Training) -> list[str]:
            if _has(saved.state, name):
                fresh = OTHER[name] if name in OTHER else _get(training.state, name)
                _set(saved.state, name, fresh.clone() if isinstance(fresh, Tensor) else fresh)
            return restore(saved, folder, training)

        opening._restore = forgetful

    return install


def _forget_comparing(name: str) -> Install:
    def install() -> None:
        load = TrainState.load

        def forgetful(checkpoint: Checkpoint, device: Any) -> TrainState:
            state = load(checkpoint, device)
            _set(state, name, OTHER[name])
            return state

        TrainState.load = forgetful

    return install


def _has(state: TrainState, name: str) -> bool:
    return name in [each for each, _ in _fields(state, "")]


def _get(state: Any, name: str) -> Any:
    for part in name.split("."):
        state = state[int(part)] if isinstance(state, list) else getattr(state, part)
    return state


def _set(state: TrainState, name: str, value: Any) -> None:
    path, _, last = name.rpartition(".")
    owner = _get(state, path) if path else state
    if isinstance(owner, list):
        owner[int(last)] = value
    else:
        setattr(owner, last, value)


# What is not in a checkpoint: it follows from metrics.jsonl, or from the run being resumed.


def _after_restoring(change: Callable[[Training], None]) -> Install:
    def install() -> None:
        restore = opening._restore

        def forgetful(saved: Saved, folder: RunFolder, training: Training) -> list[str]:
            warnings = restore(saved, folder, training)
            change(training)
            return warnings

        opening._restore = forgetful

    return install


def _reset_decay(training: Training) -> None:
    training.decay = training.config.build("lr_decay")(training.epochs)


def _reset_stopping(training: Training) -> None:
    training.stopping = training.config.build("early_stopping")()


def _keep_curves() -> None:
    begin = TensorBoard.__init__

    def forgetful(self: TensorBoard, folder: Path, done: int | None) -> None:
        begin(self, folder, None)

    TensorBoard.__init__ = forgetful


def _start_again() -> None:
    start = Observer.start

    def forgetful(self: Observer) -> None:
        t = self.state.vectors.t
        step = t.clone()
        t.zero_()
        start(self)
        t.copy_(step)

    Observer.start = forgetful


AROUND: dict[str, Install] = {
    "decay, from metrics.jsonl": _after_restoring(_reset_decay),
    "stopping, from metrics.jsonl": _after_restoring(_reset_stopping),
    "TensorBoard's purge": _keep_curves,
    "that the first step is over": _start_again,
}
