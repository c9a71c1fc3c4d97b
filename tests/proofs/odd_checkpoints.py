"""Checkpoints with the right name and odd contents: every part missing or of another kind, at any depth."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from dlfound.runs.checkpoints import Checkpoint

VALUES = (
    None, True, False, -1, 0, 1, 2, 7, 1.5, 1e300, 10**30, "", "x", "\x1b[31m", "../victim",
    [], [1], ["x"], [[]], {}, {"a": 1}, {"../victim": 0}, {"../../victim": 0},
)  # fmt: skip
SPOILS: dict[str, Callable[[Tensor], Tensor]] = {
    "one more": lambda t: torch.cat([t.reshape(-1), t.reshape(-1)[:1]]),
    "one less": lambda t: t.reshape(-1)[1:],
    "empty": lambda t: t.reshape(-1)[:0],
    "one dimension more": lambda t: t[None],
    "float64": lambda t: t.double(),
    "int64": lambda t: t.long(),
    "bool": lambda t: t.bool(),
    "complex": lambda t: t.to(torch.complex64),
    "nan": lambda t: torch.full_like(t, torch.nan) if t.is_floating_point() else ~t,
}

Path = tuple[str | int, ...]  # from the state to one of its parts
Odd = tuple[str, Checkpoint]  # what is odd, and the checkpoint


def odd_checkpoints(sound: Checkpoint) -> Iterator[Odd]:
    """A sound checkpoint with one odd part each."""
    for path in paths(sound.state):
        name = dotted(path)
        yield f"{name} missing", changed(sound, path)
        for value in VALUES:
            yield f"{name} = {value!r}", changed(sound, path, value)
    for name, tensor in sound.tensors.items():
        rest = {other: t for other, t in sound.tensors.items() if other != name}
        yield f"{name}: tensor missing", Checkpoint(sound.step, rest, sound.state)
        for how, spoil in SPOILS.items():
            yield f"{name}: {how}", with_tensor(sound, name, spoil(tensor))
    yield "a tensor more", Checkpoint(sound.step, sound.tensors | {"more": torch.zeros(1)}, sound.state)
    yield "a field more", Checkpoint(sound.step, sound.tensors, sound.state | {"more": 1})
    yield "no state", Checkpoint(sound.step, sound.tensors, {})
    yield "no tensors", Checkpoint(sound.step, {}, sound.state)
    yield "a later step", Checkpoint(sound.step + 1, sound.tensors, sound.state)


def paths(value: Any, head: Path = ()) -> Iterator[Path]:
    """The path to every part, and to the parts of parts."""
    items: Any = {}
    if isinstance(value, dict):
        items = value
    elif isinstance(value, list):
        items = dict(enumerate(value))
    for key, inner in items.items():
        yield (*head, key)
        yield from paths(inner, (*head, key))


def dotted(path: Path) -> str:
    """A path as one name."""
    return ".".join(map(str, path))


def changed(sound: Checkpoint, path: Path, *value: Any) -> Checkpoint:
    """The checkpoint with another value at a path, or without the part."""
    state = copy.deepcopy(sound.state)
    owner: Any = state
    for key in path[:-1]:
        owner = owner[key]
    if value:
        owner[path[-1]] = value[0]
    else:
        del owner[path[-1]]
    return Checkpoint(sound.step, sound.tensors, state)


def with_tensor(sound: Checkpoint, name: str, tensor: Tensor) -> Checkpoint:
    """The checkpoint with another tensor, and with that tensor's shape in the state."""
    path = tuple(int(part) if part.isdigit() else part for part in name.split("."))
    shaped = changed(sound, path, list(tensor.shape))
    return Checkpoint(sound.step, sound.tensors | {name: tensor}, shaped.state)
