"""Where and with how many threads a run computes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from dlfound.errors import Code, Error


class TooLarge(Error):
    """A net that this machine cannot hold; another one may fit."""


COPIES = 6  # of the parameters, at least: they themselves, gradient, two of Adam's, the best, the last step's
SMALL_STEP = 10_000_000  # products of a step's forward pass below which a second thread costs more than it brings


def find_device(word: str) -> torch.device:
    """The device that `run.device` means: auto is cuda when there is one.

    Raises:
        Error: the machine has no such device (code 6).
    """
    if word == "auto":
        word = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(word)
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        what = f"device {word!r} is not available here (torch sees {count} GPUs)"
        raise Error(what, "use run.device=cpu" if count == 0 else f"use run.device=cuda:{count - 1}", Code.RESOURCES)
    return device


def kind_of(device: torch.device) -> str:
    """What computes, as far as the bits of a run depend on it."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({torch.backends.cpu.get_cpu_capability()})"


def check_memory(parameters: int, device: torch.device) -> None:
    """Refuse a net that cannot fit, before anything of it is made.

    Raises:
        Error: it needs more than there is (code 6).
    """
    if device.type == "cuda":
        there = torch.cuda.get_device_properties(device).total_memory
    else:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    needed = 4 * COPIES * parameters
    if needed > there:
        what = f"a net of {parameters:,} parameters needs about {needed / 1e9:.0f} GB, and there are {there / 1e9:.0f}"
        raise TooLarge(what, "take a smaller model.hidden", Code.RESOURCES)


def count_threads(setting: int | str, weights: int, batch_size: int) -> int:
    """How many threads a run takes: what it was told, or by the size of its step, never by a clock."""
    if setting != "auto":
        return setting
    return 1 if weights * batch_size < SMALL_STEP else torch.get_num_threads()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with `count` threads, and give the calling program its own number back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
