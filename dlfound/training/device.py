"""Where and with what a run computes: its device, threads and memory, and its data as tensors on the
device."""

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dlfound.data.dataset import Dataset
from dlfound.errors import Code, Error
from dlfound.nn.modules import Network


class TooLarge(Error):
    """The net does not fit into the memory of this machine; another net may."""


# The least number of copies of the parameters in memory: the parameters, their gradient, the best ones and
# those before the last step. On a CPU, a checkpoint in the making adds two copies of each of the two that it
# saves.
COPIES = {"cpu": 8, "cuda": 4}

# Below this number of products in a step's forward pass, a second thread costs more time than it saves.
MIN_PRODUCTS_FOR_THREADS = 10_000_000

PIECE_ROWS = 65536  # rows that are normalised at a time


# ---- the machine


def find_device(word: str) -> torch.device:
    """The device that `run.device` stands for; auto is cuda if the machine has a GPU.

    Raises:
        Error: the machine does not have the device (code 6).
    """
    if word == "auto":
        word = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(word)
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        message = f"device {word!r} is not available here (torch sees {count} GPUs)"
        other = f"cuda:{count - 1}" if count else "cpu"
        raise Error(message, f"use run.device={other}", Code.RESOURCES)
    return device


def kind_of(device: torch.device) -> str:
    """The kind of hardware, as far as the bits of a run depend on it."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return f"{device.type} ({torch.backends.cpu.get_cpu_capability()})"


def versions() -> dict[str, str]:
    """The versions of the software that computes a run."""
    program = {"dlfound": version("dlfound"), "python": platform.python_version()}
    return program | {"torch": torch.__version__, "numpy": np.__version__}


def check_memory(parameters: int, device: torch.device) -> None:
    """Refuse a net that cannot fit into memory, before any of it is allocated.

    Raises:
        TooLarge: it needs more memory than is free now (code 6).
    """
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()
    needed = 4 * COPIES[device.type] * parameters
    if needed > free:
        message = f"a net of {parameters:,} parameters needs about {needed / 1e9:.1f} GB of memory, "
        message += f"but only {free / 1e9:.1f} GB are free"
        raise TooLarge(message, "take a smaller model.hidden", Code.RESOURCES)


def free_memory(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this process can get: what the machine can free, within the limits of its control groups."""
    if not (proc / "meminfo").exists():  # not Linux
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    available = (proc / "meminfo").read_text().partition("MemAvailable:")[2].split()[0]
    return min([1024 * int(available), *_group_limits(proc, groups)])


def _group_limits(proc: Path, groups: Path) -> Iterator[int]:
    """The memory limits of the control groups that this process is in; in a container they lie at the top."""
    membership = proc / "self/cgroup"
    text = membership.read_text() if membership.exists() else ""  # a kernel may have no control groups
    for line in text.splitlines():
        _, kinds, group = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        top = groups / kinds
        name = "memory.limit_in_bytes" if kinds else "memory.max"
        lowest = top / group.lstrip("/")
        for folder in (lowest, *lowest.parents):
            if folder.is_relative_to(top) and (folder / name).is_file():
                limit = (folder / name).read_text().strip()
                yield sys.maxsize if limit == "max" else int(limit)


def count_threads(setting: int | str, weights: int, batch_size: int) -> int:
    """The number of threads of a run: `run.threads`, or by the size of a step (never by a clock)."""
    if setting != "auto":
        return setting
    return 1 if weights * batch_size < MIN_PRODUCTS_FOR_THREADS else torch.get_num_threads()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute with `count` threads, and restore the calling program's number afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# ---- the data


class DeviceData(NamedTuple):
    """Training, validation or test rows on the device.

    Attributes:
        inputs: (rows, columns): pixels as uint8, all else normalised float32; `Network.ready` takes both.
        encoded: the targets as the loss takes them.
        targets: class numbers (rows,), or (rows, columns) in the target's own unit.
    """

    inputs: Tensor
    encoded: Tensor
    targets: Tensor


def make_resident(dataset: Dataset, network: Network, loss, device: torch.device) -> dict[str, DeviceData]:
    """Copy train, val and test to the device. Pixels stay bytes there: that takes a quarter of the memory."""
    parts = {}
    for name, rows in dataset.parts.items():
        targets = torch.from_numpy(dataset.targets[rows]).to(device)
        inputs = _inputs(dataset, rows, network, device)
        parts[name] = DeviceData(inputs, encode(dataset, rows, network, loss, targets), targets)
    return parts


def _inputs(dataset: Dataset, rows: np.ndarray, network: Network, device: torch.device) -> Tensor:
    """The inputs on the device, normalised in pieces: a large table must not lie in memory twice."""
    if dataset.inputs.dtype == np.uint8:
        return torch.from_numpy(dataset.inputs[rows]).to(device)
    inputs = torch.empty(len(rows), network.preprocessing.features, device=device)
    for first in range(0, len(rows), PIECE_ROWS):
        piece = torch.from_numpy(dataset.inputs[rows[first : first + PIECE_ROWS]]).to(device)
        inputs[first : first + len(piece)] = network.preprocessing(piece)
    return inputs


def encode(dataset: Dataset, rows: np.ndarray, network: Network, loss, targets: Tensor) -> Tensor:
    """Targets as the loss takes them: numbers are standardised first, and weights of rows are packed in."""
    encoded = loss.encode(targets if network.target is None else network.target(targets))
    if dataset.weights is None:
        return encoded
    return loss.packed(encoded, torch.from_numpy(dataset.weights[rows]).to(encoded.device))
