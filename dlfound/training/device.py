"""Where and with how many threads a run computes."""

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from dlfound.errors import Code, Error
from dlfound.version import VERSION


class TooLarge(Error):
    """A net that this machine cannot hold; another one may fit."""


# Of the parameters, at least: they themselves, gradient, the best, the last step's; and twice each of the two of them
# that a checkpoint holds, which is made in the machine's own memory.
COPIES = {"cpu": 8, "cuda": 4}
SMALL_STEP = (
    10_000_000  # products of a step's forward pass below which a second thread costs more than it brings
)


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
        raise Error(
            what, "use run.device=cpu" if count == 0 else f"use run.device=cuda:{count - 1}", Code.RESOURCES
        )
    return device


def kind_of(device: torch.device) -> str:
    """What computes, as far as the bits of a run depend on it."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({torch.backends.cpu.get_cpu_capability()})"


def versions() -> dict[str, str]:
    """The versions of what computes a run."""
    return {
        "dlfound": VERSION,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def check_memory(parameters: int, device: torch.device) -> None:
    """Refuse a net that cannot fit, before anything of it is made.

    Raises:
        Error: it needs more than there is now (code 6).
    """
    there = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()
    needed = 4 * COPIES[device.type] * parameters
    if needed > there:
        what = f"a net of {parameters:,} parameters needs about {needed / 1e9:.1f} GB, and {there / 1e9:.1f} are free"
        raise TooLarge(what, "take a smaller model.hidden", Code.RESOURCES)


def free_memory(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this process can hope for: what the machine can free, and what its group of processes may take."""
    if not (proc / "meminfo").exists():  # no Linux
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    (line,) = (
        line for line in (proc / "meminfo").read_text().splitlines() if line.startswith("MemAvailable:")
    )
    return min([1024 * int(line.split()[1]), *_granted(proc, groups)])


def _granted(proc: Path, groups: Path) -> Iterator[int]:
    """The limits of the groups that this process is in, one within another; in a container they lie at the top."""
    own = proc / "self/cgroup"
    for line in own.read_text().splitlines() if own.exists() else ():  # a kernel may know no groups
        _, kinds, group = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        top, name = groups / kinds, "memory.limit_in_bytes" if kinds else "memory.max"
        lowest = top / group.lstrip("/")
        for folder in (lowest, *lowest.parents):
            if folder.is_relative_to(top) and (folder / name).is_file():
                text = (folder / name).read_text().strip()
                yield sys.maxsize if text == "max" else int(text)


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
